"""Which graph form each consumer of ONNX files takes, as exported and after other tools: docs/graphs.md's table."""
