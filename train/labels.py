"""What a label may hold beside tokens."""

# In the place of a token that is not asked for: the loss and "correct" pass over it, as torch's cross entropy does.
IGNORED = -100
