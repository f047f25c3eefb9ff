"""Damages every kind of file that the product reads, interrupts its commands, and counts what becomes of it.

    python -m tools.hostile [--cuts 50] [--flips 200] [--examples 1000] [--interrupts 8] [--part PART]

from the checkout's root. `kinds` makes an intact file of each kind and reads damaged ones, `reader` does so in its own
process, `damage` counts the outcomes, `interruptions` ends commands, `properties` runs the property tests, `tables`
prints the counts.

Each damaged file is read, and run where it can be, in a process that does nothing else: one that crashes, hangs or
takes too much memory is counted and started anew. Half of the flipped bytes are drawn from the whole file, half from
its first and last 2 KiB, where the structure is. The outcomes:

    refused   one of the project's errors, with its message
    right     it was read as if nothing had been done to it; run, it gives right answers, by rules checked apart
    silent    a text file whose damage reads as another setting: the answers differ, and none is called verified
    failed    a crash, a hang, another exception, a wrong answer called verified, or a change that nobody noticed
"""
