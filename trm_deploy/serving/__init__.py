"""A model behind an address: the Open Inference Protocol, and /solve for people and scripts."""
