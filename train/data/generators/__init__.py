"""Puzzles made here, compiled by numba."""
