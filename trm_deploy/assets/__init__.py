"""The shipped models, see models.toml, and a few puzzles."""
