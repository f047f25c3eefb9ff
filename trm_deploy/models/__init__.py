"""The recursive reasoner in PyTorch: `recursive` has the one model class, `presets` its published settings."""
