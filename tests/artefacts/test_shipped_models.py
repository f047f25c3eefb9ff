"""The table of the shipped models belongs to the files beside it, and a name stands for a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ASSETS
from trm_deploy import checkpoints, puzzles
from trm_deploy.artefacts import onnx_file, record, shipped
from trm_deploy.artefacts.shipped import ShippedModel
from trm_deploy.errors import ArtefactError, SpecError
from trm_deploy.support.files import sha256

MODELS = shipped.models()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_table_says_what_the_files_are(model: ShippedModel) -> None:
    files = model.files
    for file in files.all():
        path = ASSETS / file.file
        assert (file.bytes, file.sha256) == (path.stat().st_size, sha256(path)), file.file
    for graph in ("loop", "step"):
        if getattr(files, graph) is None:
            continue
        path = ASSETS / getattr(files, graph).file
        found, built = onnx_file.read(path), record.read(path)
        assert built is not None
        assert (found.graph, found.spec.task.name) == (graph, model.task)
        assert built.checkpoint_sha256 == files.checkpoint.sha256
        assert path.with_name(f"{path.name}.golden.npz").is_file()
    assert puzzles.get(model.task).name == model.task
    weights = checkpoints.load(model.path("checkpoint")).model().parameters()
    assert model.parameters == sum(weight.numel() for weight in weights)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_card_names_the_files_and_holds_the_shares(model: ShippedModel) -> None:
    card = (ASSETS / model.card).read_text()
    for file in model.files.all():
        assert f"`{file.file}`" in card
    assert f"{model.parameters:,} parameters" in card
    assert model.measured
    for measured in model.measured:
        assert measured.command.startswith("trm-deploy ")
        assert f"{100 * measured.verified:.1f}" in card, measured.puzzles


def test_no_file_among_the_assets_is_missing_in_the_table() -> None:
    named = {file.file for model in MODELS for file in model.files.all()}
    assert named == {path.name for path in ASSETS.iterdir() if path.suffix in (".pt", ".onnx")}
    assert len({model.name for model in MODELS}) == len({model.task for model in MODELS}) == len(MODELS)


def test_a_file_of_that_name_goes_before_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped.local(Path("sudoku")) == ASSETS / "sudoku-step.onnx"
    assert shipped.local(Path("sudoku"), "checkpoint") == ASSETS / "sudoku.pt"
    assert shipped.local(Path("sudoku"), "loop") == ASSETS / "sudoku.onnx"
    assert shipped.is_name("sudoku")
    Path("sudoku").touch()
    assert shipped.local(Path("sudoku")) == Path("sudoku")
    assert not shipped.is_name("sudoku")
    assert not shipped.is_name("nothing")
    assert shipped.local(Path("nothing")) == Path("nothing")


def test_a_form_that_is_not_shipped_names_the_export(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = '[m]\ntask = "sudoku-4x4"\nmodel = "x"\nparameters = 1\ncard = "m.md"\n[m.files]\n'
    file = '{ file = "m", bytes = 1, sha256 = "" }\n'
    (tmp_path / shipped.TABLE).write_text(f"{one}checkpoint = {file}step = {file}")
    monkeypatch.setattr(shipped, "asset", lambda name: tmp_path / name)
    (model,) = shipped.models.__wrapped__()
    with pytest.raises(ArtefactError, match="m has no loop form; type: trm-deploy export m --graph loop"):
        model.path("loop")
    with pytest.raises(ArtefactError, match="this installation lacks the shipped model"):
        model.path("step")
    (tmp_path / shipped.TABLE).write_text(f"{one}checkpoint = {file}")
    with pytest.raises(SpecError, match=r"models.toml \[m\].files lacks the key 'step'"):
        shipped.models.__wrapped__()
