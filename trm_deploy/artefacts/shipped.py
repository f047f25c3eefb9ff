"""The models that come with the package: `assets/models.toml`, and the names by which every command takes them."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from trm_deploy import hub
from trm_deploy.errors import ArtefactError
from trm_deploy.support.plain import from_plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = "models.toml"
# Of the files of a model: its checkpoint, and the graph forms in which it is shipped.
Form = Literal["checkpoint", "loop", "step"]


@dataclass(frozen=True, kw_only=True)
class ShippedFile:
    """A file among the package's assets.

    Attributes:
        file: its name.
        bytes: its size.
        sha256: of its bytes.
    """

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a model; the build record and the golden vectors of a graph are beside it."""

    checkpoint: ShippedFile
    step: ShippedFile
    loop: ShippedFile | None = None

    def all(self) -> tuple[ShippedFile, ...]:
        """Those that there are."""
        return tuple(file for file in (self.checkpoint, self.step, self.loop) if file is not None)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The share of some puzzles whose answer was verified.

    Attributes:
        puzzles: which, and how many.
        attempts: how they were tried, in words.
        verified: the share, 0 to 1.
        mean_steps: supervision steps a puzzle, all attempts together.
        command: repeats it.
    """

    puzzles: str
    attempts: str
    verified: float
    mean_steps: float
    command: str


@dataclass(frozen=True, kw_only=True)
class ShippedModel:
    """A model that comes with the package.

    Attributes:
        name: what to type.
        task: what it solves, as in `trm_deploy.puzzles.get`.
        model: what it is, in words.
        parameters: their number.
        card: the file among the assets that says how it was trained and what it cannot do.
        files: see `Files`.
        measured: see `Measured`.
    """

    name: str
    task: str
    model: str
    parameters: int
    card: str
    files: Files
    measured: tuple[Measured, ...] = ()

    def path(self, form: Form = "step") -> Path:
        """Where its checkpoint or one of its graphs is.

        Raises:
            ArtefactError: it is not shipped in this form, or this installation lacks the file.
        """
        found: ShippedFile | None = getattr(self.files, form)
        if found is None:
            raise ArtefactError(
                f"the shipped model {self.name} has no {form} form",
                hint=f"type: trm-deploy export {self.name} --graph {form}",
            )
        path = asset(found.file)
        if not path.is_file():
            raise ArtefactError(f"{path}: this installation lacks the shipped model", hint="name one with --engine")
        return path


def to_plain(model: ShippedModel) -> dict[str, Any]:
    """What is in the table, and where the card is."""
    return {**asdict(model), "card": str(asset(model.card))}


def asset(name: str) -> Path:
    """Where a file of the package's assets is, or would be."""
    return Path(str(resources.files("trm_deploy") / "assets" / name))


@functools.cache
def models() -> tuple[ShippedModel, ...]:
    """The shipped models; the first is taken where neither a name nor a puzzle says which."""
    tables = tomllib.loads(asset(TABLE).read_text("utf-8"))
    return tuple(
        from_plain(ShippedModel, {"name": name, **table}, f"{TABLE} [{name}]") for name, table in tables.items()
    )


def find(name: str | os.PathLike[str]) -> ShippedModel | None:
    """The shipped model of a name, unless there is a file or a folder of that name; None where there is none."""
    path = Path(name)
    found = next((model for model in models() if model.name == str(path)), None)
    return None if found is None or path.exists() else found


def is_name(path: str | os.PathLike[str]) -> bool:
    """Whether a path is meant as the name of a shipped model, or one on the hub, rather than a file."""
    return find(path) is not None or hub.is_name(path)


def hint_for(path: Path) -> str | None:
    """What to type instead of a word that is no file; None where a path is not a word."""
    return f"shipped models: {', '.join(listed())}" if len(path.parts) == 1 and not path.suffix else None


def listed() -> list[str]:
    """The names."""
    return [model.name for model in models()]


def local(path: Path, form: Form = "step") -> Path:
    """The file on this machine that a path, the name of a shipped model or a name on the hub stands for.

    Args:
        path: as it was typed.
        form: which file of a shipped model.

    Raises:
        ArtefactError: see `ShippedModel.path`.
        TrmDeployError: see `trm_deploy.hub.fetch`.
    """
    model = find(path)
    return hub.local(path) if model is None else model.path(form)
