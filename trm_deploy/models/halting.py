"""When a sample halts: each rule makes one number of what the halting head gives, which is compared with the threshold.

Whoever halts samples (`solve`, the exported loop, batching, tuning, a server) compares that number, the halting logit,
and need not know the rule.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from trm_deploy.spec import HaltingRule


def _halt(q: Tensor) -> Tensor:
    """q_halt (TRM, arXiv 2510.04871, figure 3)."""
    return q[:, 0]


def _halt_continue(q: Tensor) -> Tensor:
    """q_halt - q_continue (HRM, arXiv 2506.21734, section 2): above 0 where halting is worth more than going on."""
    return q[:, 0] - q[:, 1]


# q float32 [B, 2] (q_halt, q_continue) -> halting logit float32 [B]; a sample halts where it exceeds the threshold.
HALTING: dict[HaltingRule, Callable[[Tensor], Tensor]] = {"halt": _halt, "halt-continue": _halt_continue}
