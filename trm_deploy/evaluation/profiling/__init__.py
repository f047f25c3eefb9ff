"""Where the time of a supervision step goes: the runtimes' own profilers, by layer group."""
