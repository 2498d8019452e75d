"""TensorRT on an NVIDIA GPU: engine files, the plugin's library, and the runtime that runs them."""
