"""The recursive reasoner in PyTorch: `layers`, `recursive` (the one model class) and `presets`."""
