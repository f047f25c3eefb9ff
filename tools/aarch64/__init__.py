"""A Jetson's processor without a Jetson.

    python -m tools.aarch64        # that pip finds wheels for each JetPack: see `resolving`

`machine` puts a small aarch64 machine together, for `make test-aarch64`: Debian's Python for arm64 and wheels, run by
qemu's emulation of a process.
"""
