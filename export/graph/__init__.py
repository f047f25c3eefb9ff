"""A checkpoint as an ONNX graph: traced pieces, composed with the recursion as loops."""
