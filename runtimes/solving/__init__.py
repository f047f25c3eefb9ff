"""From puzzles to verified answers: who computes when, further attempts, votes, files."""
