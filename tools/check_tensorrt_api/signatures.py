"""What calls the bindings take, from their docstrings: pybind11 writes each overload there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Signature:
    """One way to call something, `self` left out."""

    names: tuple[str, ...]
    required: int
    returns: str

    def takes(self, positional: int, keywords: list[str]) -> bool:
        """Whether it can be called with so many positional arguments, and these keywords."""
        given = {*self.names[:positional], *keywords}
        return (
            positional <= len(self.names)
            and set(keywords) <= set(self.names[positional:])
            and set(self.names[: self.required]) <= given
        )


def signatures(function: Any) -> list[Signature]:
    """Every overload of a bound function; none where its docstring gives none."""
    text = function.__doc__ or ""
    # Overloads are numbered below a line that says nothing; a getter's signature has no name.
    lines = re.findall(r"^\d+\. \w+(\(.*)$", text, re.MULTILINE) or re.findall(r"\A\w*(\(.*)$", text, re.MULTILINE)
    return [_signature(line) for line in lines if not line.startswith("(*args")]


def _signature(line: str) -> Signature:
    """Read "(self: Builder, flags: int = 0) -> INetworkDefinition"."""
    depth, start, parts, end = 0, 1, [], len(line)
    for place, character in enumerate(line):
        depth += (character in "([{<") - (character in ")]}" or (character == ">" and line[place - 1] != "-"))
        if depth == 0 or (depth == 1 and character == ","):
            parts.append(line[start:place].strip())
            start = place + 1
        if depth == 0:
            end = place
            break
    parts = [part for part in parts if part and not re.match(r"self\b|arg0: ", part) and part != "*"]
    names = tuple(part.partition(":")[0].partition("=")[0].strip() for part in parts)
    return Signature(names, sum(" = " not in part for part in parts), line[end + 1 :].partition("->")[2].strip())
