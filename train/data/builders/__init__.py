"""Datasets in the published layout, built from generators or published files."""
