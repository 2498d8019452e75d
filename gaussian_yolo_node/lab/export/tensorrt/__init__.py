"""Build TensorRT engines: one file that runs on the GPU from canvas to final detections."""
