"""An ONNX file as a TensorRT engine."""
