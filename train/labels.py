"""What a label may hold beside tokens."""

# In place of a token that is not to be learned: the loss and "correct" pass over it, as torch's cross entropy does.
IGNORED = -100
