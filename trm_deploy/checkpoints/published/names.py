"""The published names of weights and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from trm_deploy.errors import CheckpointError

# What precedes a weight's own name, in any number and order.
PREFIX = re.compile(r"(_orig_mod\.|model\.|inner\.)*")

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

_INVERSE = {ours: theirs for table in (NAMES, NETWORKS, PARTS) for theirs, ours in table.items()}


def is_state_dict(document: object) -> bool:
    """Whether it looks like what the published code saves: tensors by name, with a reasoning level among them."""
    return (
        isinstance(document, dict)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in document.items())
        and any(LAYER.fullmatch(_bare(key)) for key in document)
    )


def _bare(name: str) -> str:
    return PREFIX.sub("", name, count=1)


def published_name(ours: str) -> str:
    """The published name, without prefixes, of a weight of ours."""
    if match := re.fullmatch(r"(networks\.\d)\.blocks\.(\d+)\.(.+)\.weight", ours):
        network, layer, part = match.groups()
        return f"{_INVERSE[network]}_level.layers.{layer}.{_INVERSE[part]}.weight"
    return _INVERSE[ours]


def our_names(path: Path, document: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name of each weight -> its name in the file."""
    names: dict[str, str] = {}
    for theirs, tensor in document.items():
        bare = _bare(theirs)
        ours = NAMES.get(bare, "")
        if match := LAYER.fullmatch(bare):
            level, layer, part = match.groups()
            ours = f"{NETWORKS[level]}.blocks.{layer}.{PARTS[part]}.weight" if part in PARTS else ""
        if not ours:
            raise CheckpointError(
                f"{path}: the weight {theirs} {list(tensor.shape)} belongs to neither the published TRM nor HRM",
                hint="only these two can be read; other classes of that code, and of its forks, compute otherwise",
            )
        if ours in names:
            raise CheckpointError(f"{path}: the weights {names[ours]} and {theirs} are the same one, expected it once")
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: the weight {theirs} is {tensor.dtype}, expected floating-point numbers")
        names[ours] = theirs
    return names
