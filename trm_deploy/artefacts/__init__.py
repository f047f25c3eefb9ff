"""What is on disk: ONNX files and plans with their side files, readable without torch, onnx and TensorRT."""
