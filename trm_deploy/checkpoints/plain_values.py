"""Values of other libraries beside weights, read as plain ones: nothing of those libraries is called.

A training file may hold a loss as numpy's number, its arguments as a namespace, paths and dates. Each such type that a
pickle names is replaced by one of here: numbers and namespaces keep what they say, of the others nothing is kept.
"""

from __future__ import annotations

import struct
from typing import Any

MODULES = ("numpy._core.multiarray", "numpy.core.multiarray")
# numpy's names of types of numbers, and those of `struct`.
NUMBERS = {
    **{"b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"},
    **{"f2": "e", "f4": "f", "f8": "d"},
}


class PassedOver:
    """A value of which nothing is kept."""

    def __new__(cls, *_: object) -> PassedOver:
        """Of any arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Of any state."""


class Type:
    """numpy's type of numbers, by its name."""

    def __init__(self, name: object = "", *_: object) -> None:
        self.name = name
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        """Of numpy's own state the order of bytes is of interest."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            self.order = ">"


class Fields(dict[str, Any]):
    """What a namespace holds, by name."""

    def __setstate__(self, state: object) -> None:
        """Its attributes."""
        if isinstance(state, dict):
            self.update({key: value for key, value in state.items() if isinstance(key, str)})


class Plain:
    """A dictionary, whatever kind of one it was."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        """An empty one: a pickle adds what is in it."""
        return {}


def number(kind: object = None, data: object = b"", *_: object) -> object:
    """A number of numpy's; passed over where it is of another type."""
    code = NUMBERS.get(kind.name) if isinstance(kind, Type) and isinstance(kind.name, str) else None
    if code is None or not isinstance(data, bytes) or struct.calcsize(f"<{code}") != len(data):
        return PassedOver()
    assert isinstance(kind, Type)
    return struct.unpack(kind.order + code, data)[0]


# Types by the names that pickles have for them, as `torch.serialization.safe_globals` takes them.
STAND_INS: list[Any] = [
    *((number, f"{module}.scalar") for module in MODULES),
    *((PassedOver, f"{module}._reconstruct") for module in MODULES),
    (Type, "numpy.dtype"),
    (PassedOver, "numpy.ndarray"),
    (Fields, "argparse.Namespace"),
    (Fields, "types.SimpleNamespace"),
    (Plain, "collections.defaultdict"),
    *((PassedOver, f"{module}.{name}") for module in ("builtins", "__builtin__") for name in ("list", "int", "float")),
    *((PassedOver, f"pathlib.{name}") for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *((PassedOver, f"pathlib._local.{name}") for name in ("PosixPath", "WindowsPath")),
    *((PassedOver, f"datetime.{name}") for name in ("datetime", "date", "time", "timedelta", "timezone")),
]
