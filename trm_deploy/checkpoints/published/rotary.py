"""Rotary tables that a fork saved as buffers: they must be those that the settings make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from trm_deploy.errors import CheckpointError
from trm_deploy.spec import ModelSpec

TOLERANCE = 0.01  # bfloat16 rounds a cosine by at most 0.002


def check_rotary_tables(path: Path, buffers: Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Compare saved tables with `rope_theta`, which is what the model here computes with.

    Args:
        path: of the checkpoint.
        buffers: by their names in the file. Cosines and sines [positions, width of a head, or half of it] and inverse
            frequencies [half of it] are compared, others not.
        spec: what the settings make.

    Raises:
        CheckpointError: a table is another one.
    """
    architecture = spec.architecture
    if architecture.positions != "rotary":
        return
    half = architecture.hidden_size // architecture.heads // 2
    inverse = 1.0 / architecture.rope_theta ** (torch.arange(half, dtype=torch.float64) / half)
    for name, buffer in buffers.items():
        table, kind = buffer.squeeze(), name.rpartition(".")[2]
        if not buffer.is_floating_point() or not kind.startswith(("cos", "sin", "inv_freq")):
            continue
        expected, tolerance = inverse, TOLERANCE * inverse
        if kind != "inv_freq" and table.ndim == 2:
            # More positions than the model has are of no use to it.
            table = table[: spec.positions]
            angles = torch.outer(torch.arange(len(table), dtype=torch.float64), inverse)
            cosines = angles.cos() if kind.startswith("cos") else angles.sin()
            expected, tolerance = cosines.repeat(1, max(1, table.shape[1] // half)), torch.tensor(TOLERANCE)
        # A comparison with what is not a number is false.
        if table.shape != expected.shape or not bool(((table.double() - expected).abs() <= tolerance).all()):
            raise CheckpointError(
                f"{path}: the buffer {name} {list(buffer.shape)} is another rotary table than rope_theta ="
                f" {architecture.rope_theta:g} makes with heads of {2 * half}",
                hint="say the run's own with --set arch.rope_theta=NUMBER; scaled positions are not supported",
            )
