"""The published names of weights and ours, whatever wrappers have put before and between them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from trm_deploy.errors import CheckpointError

# Parts that wrappers put into a name, at any place: torch.compile, DistributedDataParallel and AveragedModel, DeepSpeed
# and Lightning's Fabric, FullyShardedDataParallel, activation checkpointing.
WRAPPERS = {"_orig_mod", "module", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# The loss head of the published code holds the model as `model`, the model its network as `inner`.
HOLDERS = {"model", "inner"}

# The published names and ours.
NAMES = {
    "H_init": "y_init",
    "L_init": "z_init",
    "embed_tokens.embedding_weight": "tokens.weight",
    "lm_head.weight": "answer_head.weight",
    "q_head.weight": "halt_head.weight",
    "q_head.bias": "halt_head.bias",
    "puzzle_emb.weights": "puzzles",
    "embed_pos.embedding_weight": "position",
}
# Those that are buffers, which an average of the parameters leaves out.
BUFFERS = {"y_init", "z_init", "puzzles"}
LAYER = re.compile(r"([LH])_level\.layers\.([0-9]{1,4})\.(\w+\.\w+)\.weight")
NETWORKS = {"L": "networks.0", "H": "networks.1"}
PARTS = {
    "mlp_t.gate_up_proj": "mixer.mlp.gate_up",
    "mlp_t.down_proj": "mixer.mlp.down",
    "self_attn.qkv_proj": "mixer.qkv",
    "self_attn.o_proj": "mixer.out",
    "mlp.gate_up_proj": "mlp.gate_up",
    "mlp.down_proj": "mlp.down",
}
MAX_PARTS = 32  # of a name that is looked at

_INVERSE = {ours: theirs for table in (NAMES, NETWORKS, PARTS) for theirs, ours in table.items()}

# Buffers that hold nothing that the weights and settings do not say: tables that are computed from settings ...
ROTARY = re.compile(
    r"(?:.*\.)?(?:(?:\w+_)?(?:rotary|rope)(?:_\w+)?\.(?:cos|sin|freqs|table|cache)(?:_\w+)?"
    r"|(?:cos|sin)_cached?|inv_freq|freqs_cis)"
)
# ... what training on puzzle embeddings has in hand, and counters (of one number each).
SCRATCH = re.compile(r"(?:.*\.)?puzzle_emb\.local_(?:weights|ids)")
COUNTER = re.compile(
    r"(?:.*[._])?(?:steps?|count(?:er)?|epochs?|iter(?:ations?)?|updates|averaged|tracked|seen|initted|decay)"
)


@dataclass(frozen=True)
class Split:
    """A weight's name, taken apart.

    Attributes:
        owner: what of its beginning is neither a wrapper nor a holder, such as ``ema_model``; usually empty.
        ours: our name of the weight; empty where the published code has no such weight.
        rest: the name without wrappers, holders and owner; of an unknown weight with its owner.
    """

    owner: str
    ours: str
    rest: str


def split(name: str) -> Split:
    """Take a weight's name apart; the longest end of it that is a published name is one."""
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    for start in range(min(len(parts), MAX_PARTS)):
        rest = ".".join(parts[start:])
        if ours := _ours(rest):
            return Split(".".join(part for part in parts[:start] if part not in HOLDERS), ours, rest)
    while parts and parts[0] in HOLDERS:
        del parts[0]
    return Split("", "", ".".join(parts))


def _ours(bare: str) -> str:
    if match := LAYER.fullmatch(bare):
        level, layer, part = match.groups()
        return f"{NETWORKS[level]}.blocks.{layer}.{PARTS[part]}.weight" if part in PARTS else ""
    return NAMES.get(bare, "")


def is_layer(ours: str) -> bool:
    """Whether a weight of ours is part of a reasoning level, which no other code names so."""
    return ours.startswith("networks.")


def published_name(ours: str) -> str:
    """The published name, without prefixes, of a weight of ours."""
    if match := re.fullmatch(r"(networks\.\d)\.blocks\.(\d+)\.(.+)\.weight", ours):
        network, layer, part = match.groups()
        return f"{_INVERSE[network]}_level.layers.{layer}.{_INVERSE[part]}.weight"
    return _INVERSE[ours]


def holds_nothing_new(rest: str, value: Tensor) -> bool:
    """Whether a tensor of this name (`Split.rest`) is a buffer that no model needs."""
    if ROTARY.fullmatch(rest) or SCRATCH.fullmatch(rest):
        return True
    return value.numel() == 1 and COUNTER.fullmatch(rest) is not None


def our_names(path: Path, document: Mapping[str, Tensor]) -> tuple[dict[str, str], list[str]]:
    """Our name of each weight -> its name in the file; and the names of those that were passed over.

    Raises:
        CheckpointError: a weight that the published code does not have, that is there twice or that holds no numbers.
    """
    names: dict[str, str] = {}
    passed: list[str] = []
    for theirs, value in document.items():
        found = split(theirs)
        if not found.ours and holds_nothing_new(found.rest, value):
            passed.append(theirs)
            continue
        if not found.ours:
            raise CheckpointError(
                f"{path}: the weight {theirs} {list(value.shape)} belongs to neither the published TRM nor HRM",
                hint="only these two can be read; other classes of that code, and of its forks, compute otherwise",
            )
        if found.ours in names:
            first = names[found.ours]
            raise CheckpointError(f"{path}: the weights {first} and {theirs} are the same one, expected it once")
        if not value.is_floating_point():
            raise CheckpointError(f"{path}: the weight {theirs} is {value.dtype}, expected floating-point numbers")
        names[found.ours] = theirs
    return names, passed
