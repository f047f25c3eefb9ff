"""trm-deploy: recursive reasoning models (TRM, HRM) from a checkpoint to engines, with proof of parity."""

__version__ = "0.1.0"
