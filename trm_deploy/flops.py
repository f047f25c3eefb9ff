"""What a supervision step costs, from the spec alone: its matrix products, which are nearly all of it."""

from __future__ import annotations

from dataclasses import dataclass

from trm_deploy.spec import ModelSpec, swiglu_width


@dataclass(frozen=True)
class Product:
    """A matrix product [rows, inner] x [inner, columns] that each sample needs `count` times a supervision step."""

    rows: int
    inner: int
    columns: int
    count: int

    @property
    def flops(self) -> float:
        """Of all of them, for one sample: a multiplication and an addition for each triple."""
        return 2.0 * self.rows * self.inner * self.columns * self.count


def products(spec: ModelSpec) -> list[Product]:
    """The matrix products of one supervision step; those of attention by heads are counted as one."""
    architecture = spec.architecture
    size = architecture.hidden_size
    positions = architecture.prefix_length + spec.task.sequence_length
    calls = spec.recursion.network_calls * architecture.layers
    found = [*_swiglu(positions, size, architecture.expansion, calls)]
    if architecture.mixer == "mlp":
        found += _swiglu(size, positions, architecture.expansion, calls)
    else:
        found += [
            Product(positions, size, 3 * size, calls),
            Product(positions, size, size, calls),
            Product(positions, size, positions, 2 * calls),
        ]
    return [*found, Product(spec.task.sequence_length, size, len(spec.task.vocabulary), 1)]


def _swiglu(rows: int, width: int, expansion: float, calls: int) -> list[Product]:
    hidden = swiglu_width(width, expansion)
    return [Product(rows, width, 2 * hidden, calls), Product(rows, hidden, width, calls)]


def step_flops(spec: ModelSpec) -> float:
    """FLOP of one supervision step of one sample."""
    return sum(product.flops for product in products(spec))
