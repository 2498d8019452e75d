"""Export networks as model files: ONNX, int8, fp16, Darknet import, TensorRT engines."""
