"""A model in another precision.

float16 and bfloat16: weights, activations and the state y, z. In float32 remain RMSNorm (the layers compute it so in
every precision), the halting head and all arithmetic on halting logits: a logit that crosses the threshold by a hair
decides how many steps a puzzle gets. int8 is a precision of exported graphs, not of models: the matrix products are
replaced there (`trm_deploy.export.graph.passes.int8`), and all else is float32.
"""

from __future__ import annotations

import copy
import itertools

import torch

from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.signature import Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.float32}


def cast(model: RecursiveReasoner, precision: Precision) -> RecursiveReasoner:
    """The model in a precision; a copy, except where its weights stay float32.

    A puzzle table outside the module is shared; of the weights, only the narrow ones are made.

    Args:
        model: float32.
        precision: of weights, activations and state.
    """
    dtype = DTYPES[precision]
    if dtype == torch.float32:
        return model
    narrow: dict[int, object] = {}
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        # The halting head keeps its last bits: cast and cast back it would not.
        kept = name.startswith("halt_head.") or not tensor.is_floating_point()
        value = tensor.detach().clone() if kept else tensor.detach().to(dtype)
        is_weight = isinstance(tensor, torch.nn.Parameter)
        narrow[id(tensor)] = torch.nn.Parameter(value, requires_grad=tensor.requires_grad) if is_weight else value
    # deepcopy takes these in place of the originals: no float32 copy of the weights is ever made.
    return copy.deepcopy(model, narrow)
