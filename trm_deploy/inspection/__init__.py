"""What an artefact is, and what this machine can do."""
