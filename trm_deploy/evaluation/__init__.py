"""What a model is worth: parity with PyTorch, the halting threshold, speed."""
