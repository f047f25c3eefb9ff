"""Passes over a composed graph, one a file, each with what it requires and ensures."""
