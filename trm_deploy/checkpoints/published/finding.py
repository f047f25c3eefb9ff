"""Where the weights are in what a training left: a bare state dict, or one or several among other things.

    {name: tensor}                                   the published `step_N`
    {"model_state_dict": ..., "optimizer": ...}      training files; "state_dict" in Lightning's, "model", "ema" ...
    {"model.…": ..., "ema_model.…": ...}             two models in one state dict

Where there is one, it is taken. Where there are several, the averaged one (EMA) is: it is what the published code
evaluates. Anything else is for the user to say, with `--set weights=NAME`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trm_deploy.checkpoints.published.names import BUFFERS, Split, holds_nothing_new, is_layer, published_name, split
from trm_deploy.errors import CheckpointError, InputError, shown

log = logging.getLogger(__name__)

MAX_DEPTH = 6  # of dictionaries in dictionaries
MAX_FOUND = 20
# What an averaged model is kept under.
EMA = re.compile(r"EMA|(?<![A-Za-z])[Ee]ma(?![A-Za-z])|shadow")
# Tensors by the names of weights that are none: an optimizer's.
NOT_WEIGHTS = re.compile(r"optim|exp_avg|grad|momentum", re.IGNORECASE)
TOP = "top-level"


@dataclass(frozen=True)
class StateDict:
    """Weights of one model in a file.

    Attributes:
        label: the keys that lead to it, joined by dots; empty where the file holds nothing else.
        entries: name in the file -> tensor.
    """

    label: str
    entries: dict[str, Tensor]

    @property
    def averaged(self) -> bool:
        """Whether its place says that these are averaged weights."""
        return EMA.search(self.label) is not None

    @property
    def name(self) -> str:
        """What `--set weights=` calls it."""
        return self.label or TOP


def state_dicts(document: object) -> list[StateDict]:
    """The state dicts with a published reasoning level in what a file holds."""
    found: list[StateDict] = []
    for one in _walk(document, "", 0):
        found.append(one)
        if len(found) > MAX_FOUND:
            break
    return found


def is_published(document: object) -> bool:
    """Whether there are weights of the published code in what a file holds."""
    return bool(state_dicts(document))


def _walk(value: object, label: str, depth: int) -> Iterator[StateDict]:
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        return
    names = {key: split(key) for key, entry in value.items() if isinstance(key, str) and isinstance(entry, Tensor)}
    owners = sorted({name.owner for name in names.values() if is_layer(name.ours)})[: MAX_FOUND + 1]
    for owner in owners:
        entries = {key: value[key] for key, name in names.items() if _belongs(name, value[key], owner, owners)}
        # One model is called by the place of its state dict, whatever its own name in a wrapper is.
        yield StateDict(".".join(filter(None, (label, owner if len(owners) > 1 else ""))), entries)
    for key, entry in value.items():
        if isinstance(key, str) and not NOT_WEIGHTS.search(key):
            yield from _walk(entry, f"{label}.{key}" if label else key, depth + 1)


def _belongs(name: Split, value: Tensor, owner: str, owners: Sequence[str]) -> bool:
    """Whether an entry of a state dict belongs to the model of that owner: what belongs to nobody is everybody's."""
    if name.ours:
        return name.owner == owner or name.owner not in owners
    theirs = [other for other in owners if other and name.rest.startswith(f"{other}.")]
    return not theirs or owner in theirs or holds_nothing_new(name.rest, value)


def choose(path: Path, found: Sequence[StateDict], wanted: str | None) -> tuple[dict[str, Tensor], str]:
    """The weights to take, and where they were; the place is empty where the file holds nothing else.

    Args:
        path: of the file, for messages.
        found: see `state_dicts`; at least one.
        wanted: the `StateDict.name` that the user says; None where nothing is said.

    Raises:
        CheckpointError: there are several, and nothing tells which one to take.
        InputError: there is none of the wanted name.
    """
    names = [one.name for one in found]
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"--set weights={wanted[:80]}: {path} has no such weights, expected {', '.join(names[:MAX_FOUND])}"
            )
        chosen = found[names.index(wanted)]
    elif len(found) == 1:
        chosen = found[0]
    else:
        averaged = [one for one in found if one.averaged]
        if len(averaged) != 1:
            several = ", ".join(map(shown, names[:MAX_FOUND]))
            raise CheckpointError(
                f"{path}: holds {len(found)} state dicts: {several}; nothing says which one is the model",
                hint=f"add --set weights={names[0]}, or another of them",
            )
        chosen = averaged[0]
        others = [name for name in names if name != chosen.name]
        log.warning(
            "%s: takes the averaged weights %s, not %s (--set weights=%s takes those)",
            path,
            shown(chosen.name),
            " or ".join(map(shown, others[:MAX_FOUND])),
            others[0],
        )
    entries, borrowed = _completed(chosen, found)
    place = chosen.name if chosen.label or len(found) > 1 else ""
    return entries, f"{place}{borrowed}"


def _completed(chosen: StateDict, found: Sequence[StateDict]) -> tuple[dict[str, Tensor], str]:
    """Averaged parameters with the buffers of the model that they are an average of.

    The published code averages parameters only; initial states and puzzle embeddings are buffers, and its evaluation
    takes them from the model as it is.
    """
    rest = [one for one in found if not one.averaged]
    if not chosen.averaged or len(rest) != 1:
        return chosen.entries, ""
    there = {split(name).ours for name in chosen.entries}
    borrowed = {name: value for name, value in rest[0].entries.items() if split(name).ours in BUFFERS - there}
    if not borrowed:
        return chosen.entries, ""
    names = ", ".join(sorted(published_name(split(name).ours) for name in borrowed))
    return {**borrowed, **chosen.entries}, f", with {names} of {rest[0].name}"


def find_arch(document: object) -> Mapping[str, Any] | None:
    """The settings of a network under `arch`, at the top or under one other key; None where there are none."""
    if not isinstance(document, dict):
        return None
    below = [value for value in document.values() if isinstance(value, dict)]
    held = [value["arch"] for value in (document, *below) if isinstance(value.get("arch"), dict)]
    return held[0] if held else None
