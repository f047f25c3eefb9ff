"""What any program needs, without a word of puzzles or models: files, JSON, progress, pictures, the machine."""
