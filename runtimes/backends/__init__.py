"""One module a back end: all that is its own."""
