"""The errors a user can meet, each with the exit code that the command line returns for it.

    TrmDeployError            1   something went wrong
    |-- InputError            2   an input cannot be read or makes no sense
    |   |-- PuzzleError       2   a puzzle: malformed, or its givens break the rules
    |   |-- SpecError         2   a model specification
    |   |-- CheckpointError   2   a checkpoint: truncated, foreign, of another shape
    |   |-- ArtefactError     2   an ONNX file or an engine: truncated, foreign
    |   `-- RecipeError       2   a training recipe
    |-- ParityFailure         3   an engine does not give PyTorch's answers
    |-- CannotRunHere         4   this machine or installation lacks what is needed
    |   `-- MissingPackage    4   a Python package of one of the extras
    |-- UnverifiedAnswers     5   `run --strict`, and a puzzle stayed without a verified answer
    `-- Interrupted         130   Ctrl-C

A message is one line: the file, the place, what came, what was expected. `hint` is the next command to type or
the change to make; the command line prints it behind the message.
"""

from __future__ import annotations

import importlib
import re
import reprlib
import sys
from types import ModuleType
from typing import Any, ClassVar

# Packages that report their use to their makers when they are imported, and the module that does so for them. Each
# goes on without it; who imports it before us has chosen.
REPORTERS = {"openvino": "openvino_telemetry"}


class TrmDeployError(Exception):
    """Base of every error that a user can cause or meet."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}; {self.hint}" if self.hint else message


class InputError(TrmDeployError):
    """An input cannot be read or makes no sense."""

    exit_code = 2


class PuzzleError(InputError):
    """A puzzle is malformed or its givens already break the rules.

    Attributes:
        position: from 0, the character at fault in the puzzle's text; None where it is the text as a whole.
    """

    def __init__(self, message: str, *, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class SpecError(InputError):
    """A model specification is malformed, contradictory or too new."""


class CheckpointError(InputError):
    """A checkpoint cannot be read or does not fit its specification."""


class ArtefactError(InputError):
    """An ONNX file or an engine cannot be read or is not ours."""


class RecipeError(InputError):
    """A training recipe is malformed or contradictory."""


class ParityFailure(TrmDeployError):
    """An engine does not give the answers that PyTorch gives."""

    exit_code = 3


class CannotRunHere(TrmDeployError):
    """This engine or format cannot run on this machine."""

    exit_code = 4


class MissingPackage(CannotRunHere):
    """A Python package that belongs to one of the extras is not installed."""


class UnverifiedAnswers(TrmDeployError):
    """`run --strict`, and not every puzzle has an answer that obeys its rules."""

    exit_code = 5


class Interrupted(TrmDeployError):
    """The user pressed Ctrl-C; what was being written is gone, what is left is whole."""

    exit_code = 130

    def __init__(self, *, hint: str | None = None) -> None:
        super().__init__("interrupted", hint=hint)


class _Short(reprlib.Repr):
    """`repr` in bounded time and length: hostile input nests, repeats itself by reference, or has a million digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to print a number of more than 4,300 digits."""
        return str(x) if x.bit_length() <= 128 else f"a whole number of {x.bit_length():,} bits"


_SHORT = _Short()


def shown(value: object) -> str:
    """A value that came from outside, as a message shows it: shortened where it is long or deep."""
    return _SHORT.repr(value)


def reason(error: BaseException) -> str:
    """What a library says went wrong, for a message to quote: one line, without its own codes and paths."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    text = re.sub(r"^Load model from .{1,4096}? failed:\s*", "", text).rstrip(".")
    return text[:160] or type(error).__name__


def _import_silently(module: str) -> ModuleType:
    """Import `module`, which reports its use to nobody (see `REPORTERS`)."""
    modules: dict[str, Any] = sys.modules
    reporter = REPORTERS.get(module)
    if reporter is None or reporter in modules:
        return importlib.import_module(module)
    modules[reporter] = None  # as where it is not installed
    try:
        return importlib.import_module(module)
    finally:
        del modules[reporter]


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or raise `MissingPackage` that names the extra which brings it.

    Args:
        module: import name, for example ``"onnxruntime"``.
        extra: the extra of this package that depends on it, for example ``"onnx"``.
        purpose: what it is needed for, as in "to run an ONNX file".
    """
    try:
        return _import_silently(module)
    except ImportError as error:
        raise MissingPackage(
            f"{module} is needed {purpose} and cannot be imported ({error})",
            hint=f"type: pip install 'trm-deploy[{extra}]'",
        ) from error
