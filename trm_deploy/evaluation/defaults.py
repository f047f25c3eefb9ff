"""Defaults of parity, tune and benchmark, each stated here alone: `--help` shows them, so nothing heavy is imported."""

# Number of ulp-perturbed controls, and of attempts a puzzle, of a comparison with PyTorch.
CONTROLS = 3
ATTEMPTS = 1
# Points of the solved share that a tuned threshold may lose.
MAX_LOSS = 0.2
# Number of puzzles that the command measures on, and of repeats of each measurement in batches.
BENCHMARK_PUZZLES = 200
REPEATS = 3
