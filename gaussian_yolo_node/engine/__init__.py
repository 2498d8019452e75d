"""From a model file to a TensorRT engine: detection plugin, precision, the build, and what is noted of it."""
