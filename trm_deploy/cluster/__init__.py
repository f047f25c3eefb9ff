"""Solving on many processes and machines: a Ray cluster of actors, each with the model and its slots.

    connection   to a cluster that runs, or one on this machine alone
    shipping     the artefact and its side files, through the object store
    worker       what an actor does: opens the model, solves blocks of puzzles
    pool         blocks to actors, and what they give in the order of the blocks; an actor that dies loses nothing
    session      the same as one opened model: `run` and the file of answers see no difference

Ray is imported when a cluster is opened.
"""
