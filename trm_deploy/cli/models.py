"""`trm-deploy models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trm_deploy.cli.options import Json
from trm_deploy.support.jsontext import dumps

if TYPE_CHECKING:
    from trm_deploy.artefacts.shipped import ShippedModel


def models(as_json: Json = False) -> None:
    """List the models that come with the package: task, size, shares of verified puzzles, card.

    Every command takes such a name where it takes a checkpoint or an exported file; a file of that name goes first.
    """
    from trm_deploy.artefacts import shipped

    found = shipped.models()
    if as_json:
        print(dumps({"schema": 1, "models": [shipped.to_plain(model) for model in found]}, indent=2))
    else:
        print("\n\n".join(map(_text, found)))


def _text(model: ShippedModel) -> str:
    from trm_deploy.artefacts import shipped

    files = ", ".join(f"{file.file} ({file.bytes / 1e6:.1f} MB)" for file in model.files.all())
    lines = [f"{model.name}: {model.task}", f"  {model.model}; {model.parameters:,} parameters"]
    for measured in model.measured:
        lines.append(
            f"  verified {measured.verified:.1%} of {measured.puzzles} in {measured.attempts},"
            f" {measured.mean_steps:.2f} on average"
        )
    return "\n".join([*lines, f"  files: {files}", f"  card: {shipped.asset(model.card)}"])
