"""The reference of a comparison: a checkpoint in PyTorch float32, and its ulp-perturbed controls."""

from __future__ import annotations

from trm_deploy.models.perturb import perturb_by_one_ulp
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes.backends.pytorch import TorchRuntime


def reference_and_controls(model: RecursiveReasoner, controls: int) -> tuple[TorchRuntime, list[TorchRuntime]]:
    """A model as the reference, and `controls` copies whose weights are one unit in the last place off."""
    return TorchRuntime(model), [TorchRuntime(perturb_by_one_ulp(model, seed)) for seed in range(controls)]
