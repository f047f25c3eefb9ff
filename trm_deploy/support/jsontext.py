"""JSON as other programs can read it."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(document: object, *, indent: int | None = None) -> str:
    """JSON text; numbers that JSON does not know stand as the strings "inf", "-inf" and "nan"."""
    text = json.dumps(_finite(document), indent=indent, allow_nan=False, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as in the name of a file that is not UTF-8
        return json.dumps(_finite(document), indent=indent, allow_nan=False)
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
