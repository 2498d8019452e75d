"""From a model file to a TensorRT engine: the detection plugin in the graph, precision, the build, and what is noted."""
