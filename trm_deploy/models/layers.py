"""The parts of a network that is applied to its own output: RMSNorm, SwiGLU, the two mixers, a block.

Shapes: B samples, S = P + L positions (P prefix tokens come first), D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trm_deploy.spec import Architecture, swiglu_width


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last axis, without weight, computed in float32; same dtype out as in."""
    wide = x.to(torch.float32)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def init_normal(tensor: Tensor, std: float) -> Tensor:
    """Fill with a normal distribution cut at two standard deviations whose own standard deviation is `std`."""
    # A standard normal cut at +-2 has standard deviation 0.8796; dividing by it makes `std` come out exactly.
    scale = std / 0.87962566103423978
    with torch.no_grad():
        return nn.init.trunc_normal_(tensor, std=scale, a=-2 * scale, b=2 * scale)


class Linear(nn.Linear):
    """A linear map without bias, initialised with standard deviation 1 / sqrt(inputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        init_normal(self.weight, 1 / math.sqrt(inputs))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) over the last axis; `gate` and `up` share one matrix."""

    def __init__(self, width: int, expansion: float) -> None:
        super().__init__()
        hidden = swiglu_width(width, expansion)
        self.gate_up = Linear(width, 2 * hidden)
        self.down = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)  # type: ignore[no-any-return]


class MlpMixer(nn.Module):
    """Mixes positions with a SwiGLU along the sequence, then adds and norms there too, as the published TRM does."""

    def __init__(self, architecture: Architecture, positions: int) -> None:
        super().__init__()
        self.eps = architecture.rms_norm_eps
        self.mlp = SwiGLU(positions, architecture.expansion)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]."""
        x = x.transpose(1, 2)  # [B, D, S]
        # The norm runs over positions, not over channels: so does the published code, and its weights expect it.
        return rms_norm(x + self.mlp(x), self.eps).transpose(1, 2)


def _frequencies(architecture: Architecture, axes: int) -> Tensor:
    """The rotary frequencies [head_size / 2 / axes] of each axis, from 1 down."""
    size = architecture.hidden_size // architecture.heads // axes
    return architecture.rope_theta ** -(torch.arange(0, size, 2, dtype=torch.float32) / size)


def _angles(architecture: Architecture, positions: int) -> Tensor:
    """Rotary angles [S, head_size / 2]: those of a token's number."""
    return torch.outer(torch.arange(positions, dtype=torch.float32), _frequencies(architecture, 1))


def _grid_angles(architecture: Architecture, positions: int) -> Tensor:
    """Rotary angles [S, head_size / 2]: first those of a cell's row, then those of its column.

    The prefix tokens lie before the grid's first cell, on the diagonal.
    """
    prefix = architecture.prefix_length
    side = math.isqrt(positions - prefix)
    before = torch.arange(-prefix, 0)
    cells = torch.arange(side)
    rows = torch.cat((before, cells.repeat_interleave(side)))
    columns = torch.cat((before, cells.repeat(side)))
    frequencies = _frequencies(architecture, 2)
    return torch.cat([torch.outer(axis.float(), frequencies) for axis in (rows, columns)], dim=-1)


ANGLES: dict[str, Callable[[Architecture, int], Tensor]] = {"rotary": _angles, "rotary-2d": _grid_angles}


class AttentionMixer(nn.Module):
    """Mixes positions with full (not causal) multi-head attention, then adds and norms over channels.

    Attributes:
        fused: whether attention is one operation, or plain matrix products, whose gradient is several times faster on
            a CPU.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, architecture: Architecture, positions: int) -> None:
        super().__init__()
        self.eps = architecture.rms_norm_eps
        self.heads = architecture.heads
        self.head_size = architecture.hidden_size // architecture.heads
        self.qkv = Linear(architecture.hidden_size, 3 * architecture.hidden_size)
        self.out = Linear(architecture.hidden_size, architecture.hidden_size)
        self.fused = True
        self.rotary = architecture.positions in ANGLES
        if self.rotary:
            # RoPE (arXiv 2104.09864), halves rotated against each other; [S, head_size], both halves alike.
            angle = ANGLES[architecture.positions](architecture, positions)
            angle = torch.cat((angle, angle), dim=-1)
            self.register_buffer("cos", angle.cos(), persistent=False)
            self.register_buffer("sin", angle.sin(), persistent=False)

    def _rotate(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        wide = x.to(self.cos.dtype) * self.cos + torch.cat((-second, first), dim=-1).to(self.sin.dtype) * self.sin
        return wide.to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]."""
        # [B, S, 3 D] -> three of [B, heads, S, head_size]
        query, key, value = self.qkv(x).unflatten(-1, (3 * self.heads, self.head_size)).transpose(1, 2).chunk(3, dim=1)
        if self.rotary:
            query, key = self._rotate(query), self._rotate(key)
        if self.fused:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            scores = query @ key.transpose(-1, -2) / math.sqrt(self.head_size)  # [B, heads, S, S]
            mixed = scores.softmax(-1).to(value.dtype) @ value
        return rms_norm(x + self.out(mixed.transpose(1, 2).flatten(2)), self.eps)


MIXERS = {"mlp": MlpMixer, "attention": AttentionMixer}


class Block(nn.Module):
    """One layer: mix positions, then channels; post-norm RMSNorm after each."""

    def __init__(self, architecture: Architecture, positions: int) -> None:
        super().__init__()
        self.eps = architecture.rms_norm_eps
        self.mixer = MIXERS[architecture.mixer](architecture, positions)
        self.mlp = SwiGLU(architecture.hidden_size, architecture.expansion)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]."""
        x = self.mixer(x)
        return rms_norm(x + self.mlp(x), self.eps)


class Network(nn.Module):
    """The tiny network: a few blocks, applied to a sum of states."""

    def __init__(self, architecture: Architecture, positions: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(architecture, positions) for _ in range(architecture.layers))

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]."""
        for block in self.blocks:
            x = block(x)
        return x
