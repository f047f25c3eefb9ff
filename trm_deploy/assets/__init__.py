"""The shipped model, its ONNX file and a few puzzles."""
