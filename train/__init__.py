"""Training: puzzles made by the project's own generator, deep supervision, EMA, recipes."""
