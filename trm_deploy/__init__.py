"""trm-deploy: recursive reasoning models (TRM, HRM) from a checkpoint to engines, with proof of parity.

    import trm_deploy as trm
    trm.Solver().solve("53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79").text

The public names are imported when they are first used: `import trm_deploy` itself loads neither numpy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trm_deploy.api import Answer, Solver, TraceStep, VotedAnswer, compare, evaluate, export_model, inspect, verify
    from trm_deploy.errors import (
        ArtefactError,
        CannotRunHere,
        CheckpointError,
        InputError,
        ParityFailure,
        PuzzleError,
        TrmDeployError,
    )

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "ArtefactError",
    "CannotRunHere",
    "CheckpointError",
    "InputError",
    "ParityFailure",
    "PuzzleError",
    "Solver",
    "TraceStep",
    "TrmDeployError",
    "VotedAnswer",
    "__version__",
    "compare",
    "evaluate",
    "export_model",
    "inspect",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    errors = importlib.import_module("trm_deploy.errors")
    found = getattr(errors, name, None) or getattr(importlib.import_module("trm_deploy.api"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
