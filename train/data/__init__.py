"""Training samples: where they come from, in what layout, made how."""
