"""What export and runtimes share of TensorRT: its packages, its plans, what an engine says of its precision."""
