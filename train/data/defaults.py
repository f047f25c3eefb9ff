"""Defaults of `data build`, each stated here alone: `--help` shows them, so nothing heavy is imported."""

# Puzzles to generate of each part, as many as the paper trains on, of Sudoku-Extreme and of Maze-Hard.
PUZZLES = 1000
# Augmentations of an ARC task, as published.
AUGMENTATIONS = 1000
