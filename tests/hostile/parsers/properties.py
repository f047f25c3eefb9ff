"""Property tests: what comes in, how often it is tried, and what may come of it."""

from __future__ import annotations

import collections
import copy
import functools
import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from trm_deploy.errors import TrmDeployError

EXAMPLES = int(os.environ.get("TRM_DEPLOY_EXAMPLES", "25"))
COUNTS: collections.Counter[str] = collections.Counter()

# What a slip, a damaged disk or an ill will may put in a value's place.
NASTY: list[Any] = [
    *(0, -1, True, None, "", [], {}, 10**9, 2**63, -(2**63), 10**400, 1e308, float("inf"), float("-inf"), float("nan")),
    *("²", "٣", "\ud800", "\0", "9" * 5000, [[[[[[]]]]]], {"a": {"b": {}}}, "fp32", "x" * 10_000, 0.5, 1e-300),
]
VALUES = st.sampled_from(NASTY) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def parser(*strategies: st.SearchStrategy[Any], share: float = 1.0) -> Callable[[Callable[..., None]], Any]:
    """A property that is tried with a share of the examples, always the same ones, and counted."""

    def decorate(test: Callable[..., None]) -> Any:
        @functools.wraps(test)
        def counted(*arguments: Any, **keywords: Any) -> None:
            COUNTS[test.__name__.removeprefix("test_")] += 1
            test(*arguments, **keywords)

        chosen = settings(max_examples=max(int(EXAMPLES * share), 5), derandomize=True, deadline=None, database=None)
        return chosen(given(*strategies)(counted))

    return decorate


def attempted(read: Callable[[], Any]) -> Any:
    """The result, or None where it was refused; anything but our own errors fails the test."""
    try:
        return read()
    except TrmDeployError as error:
        message = str(error)
        assert message.strip()
        assert len(message) < 5000, "a message is one line"
        message.encode("utf-8", "backslashreplace")
        return None


def changed_in(draw: st.DrawFn, document: Any) -> Any:
    """A document with some of its values changed, keys taken away or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, (dict, list)) and inner and draw(st.integers(0, 4)):
                place = inner
                continue
            what = draw(st.integers(0, 9))
            if what == 0:
                del place[key]
            elif what == 1 and isinstance(place, dict):
                place[draw(st.text(max_size=10))] = copy.deepcopy(draw(VALUES))
            else:
                place[key] = copy.deepcopy(draw(VALUES))
            break
    return document


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    return changed_in(draw, document)


@st.composite
def spoiled(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with some of them changed, cut out, doubled or cut off."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        if not made:
            break
        start = draw(st.integers(0, len(made) - 1))
        end = min(start + draw(st.integers(1, 8)), len(made))
        what = draw(st.integers(0, 4))
        if what == 0:
            del made[start:]
        elif what == 1:
            del made[start:end]
        elif what == 2:
            made[start:start] = made[start:end]
        else:
            made[start:end] = draw(st.binary(min_size=1, max_size=8))
    return bytes(made)


def as_json(document: Any) -> str:
    return json.dumps(document)
