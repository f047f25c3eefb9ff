"""Runtimes with their own profilers switched on: one module a back end, named in its row of the registry."""
