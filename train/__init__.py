"""Training: recipes, data, deep supervision, averaged weights."""
