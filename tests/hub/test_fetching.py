"""Names on the hub, fetched from a server of our own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.checkpoints.test_published import model_of, published_weights
from tests.cli.test_commands import assert_one_line_error, trm
from tests.hub.server import COMMIT, OTHER, FakeHub
from trm_deploy import api, checkpoints, hub
from trm_deploy.artefacts import bundle, record
from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.hub import catalogue, fetched, names
from trm_deploy.hub.names import HubName
from trm_deploy.puzzles import get

BIG = bytes(range(256)) * 400
CONFIG = b"arch:\n  H_cycles: 3\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("TRM_DEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with FakeHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hf://o/n", HubName("o/n")),
        ("hf:/o/n/step_1", HubName("o/n", "step_1")),  # as pathlib leaves it
        (r"hf:\o\n\sub\step_1", HubName("o/n", "sub/step_1")),  # as it does on Windows
        ("hf://o/n/a/b.onnx@v1.0", HubName("o/n", "a/b.onnx", "v1.0")),
        ("hf://o-1/n.2@refs/pr/3", HubName("o-1/n.2", "", "refs/pr/3")),
    ],
)
def test_names(text: str, wanted: HubName) -> None:
    assert names.is_name(text)
    assert names.is_name(Path(text))
    assert names.parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://o", "hf://o/n@", "hf://o/n/../x", "hf://o/n//x", "hf://o n/m", "hf://o/n/x@a@b", "hf://o/.."],
)
def test_malformed_names_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is malformed, expected hf://OWNER/NAME"):
        hub.fetch(text)


def test_what_is_no_name_is_left_alone(tmp_path: Path) -> None:
    assert hub.local(tmp_path / "hf") == tmp_path / "hf"


def test_a_file_comes_with_what_is_read_beside_it(
    server: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.add(
        "o/n",
        {"run/step_5": BIG, "run/all_config.yaml": CONFIG, "run/trm.py": b"code", "all_config.yaml": b"another"},
    )
    path, found = hub.fetch("hf://o/n/run/step_5")
    assert path == tmp_path / "cache" / "hub" / "o" / "n" / COMMIT / "run" / "step_5"
    assert path.read_bytes() == BIG
    assert path.with_name("all_config.yaml").read_bytes() == CONFIG
    assert not path.with_name("trm.py").exists()
    assert (found.revision, found.sha256, found.bytes) == (COMMIT, hashlib.sha256(BIG).hexdigest(), len(BIG))
    assert fetched.read(path) == found
    server.requests.clear()
    with caplog.at_level("INFO", "trm_deploy"):
        hub.fetch("hf://o/n/run/step_5")
    assert "fetching" not in caplog.text
    for file in ("step_5", "all_config.yaml"):
        assert not [path for _, path, _ in server.requests if path.endswith(f"/{file}")], "it was there"


def test_the_file_is_found_where_none_is_named(server: FakeHub) -> None:
    server.add("o/steps", {"step_9": BIG, "step_10": BIG + b"1", "step_10_all_preds.0": BIG, "README.md": b"-"})
    assert hub.fetch("hf://o/steps")[1].file == "step_10"
    server.add("o/single", {"model.safetensors": BIG, "config.json": b"{}"})
    assert hub.fetch("hf://o/single")[1].file == "model.safetensors"
    server.add("o/two", {"a/step_1": BIG, "b/step_2": BIG})
    with pytest.raises(InputError, match=r"has 2 checkpoints, name a file of it; it has a/step_1, b/step_2"):
        hub.fetch("hf://o/two")
    assert hub.fetch("hf://o/two/b")[1].file == "b/step_2"
    server.add("o/none", {"README.md": b"-"})
    with pytest.raises(InputError, match=r"has no checkpoint by its name.* it has README.md"):
        hub.fetch("hf://o/none")


def test_a_checkpoint_in_several_files_comes_whole(server: FakeHub) -> None:
    pieces = {f"x/m-0000{n}-of-00002.safetensors": BIG + bytes([n]) for n in (1, 2)}
    index = json.dumps({"weight_map": {path: path[2:] for path in pieces}, "metadata": {"x": "y" * 2000}}).encode()
    server.add("o/pieces", {**pieces, "x/m.safetensors.index.json": index, "x/config.json": b"{}"})
    path, found = hub.fetch("hf://o/pieces")
    assert (path.name, found.sha256) == ("m.safetensors.index.json", "")
    assert {name: (path.parent.parent / name).read_bytes() for name in pieces} == pieces
    server.add("o/lost", {"m.bin.index.json": index})
    with pytest.raises(
        InputError, match=r"the index names m-00001-of-00002.safetensors, which the repository does not"
    ):
        hub.fetch("hf://o/lost")


def test_what_is_not_there_is_named(server: FakeHub) -> None:
    server.add("o/n", {"step_5": BIG})
    server.gated.add("o/gated")
    for name, complaint in (
        ("hf://o/n/step_6", r"has no such file; did you mean hf://o/n/step_5\?"),
        ("hf://o/n@v9", r"has no revision 'v9'"),
        ("hf://o/other", "no such repository, or it is not public; trm-deploy fetch --list"),
        ("hf://o/gated", "its makers ask who fetches it; ask for access"),
    ):
        with pytest.raises(InputError, match=complaint):
            hub.fetch(name)


def test_nothing_is_written_outside_of_the_cache(server: FakeHub, tmp_path: Path) -> None:
    server.add("o/n", {"../../../../all_config.yaml": CONFIG, "step_5": BIG, "../step_6": BIG, "/step_7": BIG})
    assert hub.fetch("hf://o/n")[1].file == "step_5"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_revisions_lie_side_by_side(server: FakeHub) -> None:
    server.add("o/n", {"step_5": BIG})
    server.add("o/n", {"step_5": BIG + b"new"}, commit=OTHER, revision="v2")
    old, new, pinned = (hub.fetch(f"hf://o/n/step_5{at}")[0] for at in ("", "@v2", f"@{COMMIT}"))
    assert (old.read_bytes(), new.read_bytes()) == (BIG, BIG + b"new")
    assert pinned == old
    server.revisions["o/n"]["main"] = OTHER
    assert hub.fetch("hf://o/n/step_5")[0] == new


def test_a_download_that_is_cut_goes_on_where_it_ended(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # what is written at a time
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.add("o/n", {"step_5": BIG})
    server.cuts["step_5"] = [40_000, 10_000]
    path, _ = hub.fetch("hf://o/n/step_5")
    assert path.read_bytes() == BIG
    assert server.downloads("step_5") == ["", "bytes=40000-", "bytes=50000-"]


def test_a_download_that_never_ends_leaves_nothing_that_is_taken_for_the_file(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.add("o/n", {"step_5": BIG})
    server.cuts["step_5"] = [0] * 40
    with pytest.raises(TrmDeployError, match="the download ended before the file was whole") as refused:
        hub.fetch("hf://o/n/step_5")
    assert refused.value.exit_code == 1
    assert not list((tmp_path / "cache").rglob("step_5"))
    server.cuts.clear()
    assert hub.fetch("hf://o/n/step_5")[0].read_bytes() == BIG


@pytest.mark.parametrize(("file", "data", "kind"), [("step_5", BIG, "SHA-256"), ("step_6", b"small", "git digest")])
def test_other_bytes_than_the_hub_lists_are_refused(file: str, data: bytes, kind: str, server: FakeHub) -> None:
    server.add("o/n", {file: data})
    server.altered.add(file)
    with pytest.raises(TrmDeployError, match=f"what came is not what the hub has: its {kind} is .* expected"):
        hub.fetch(f"hf://o/n/{file}")
    server.altered.clear()
    path, found = hub.fetch(f"hf://o/n/{file}")
    assert path.read_bytes() == data
    assert bool(found.sha256) == (kind == "SHA-256")


def test_without_a_network_what_was_fetched_before_is_taken_and_said(
    server: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    server.add("o/n", {"step_5": BIG})
    path, _ = hub.fetch("hf://o/n")
    server.down = True
    with caplog.at_level(logging.WARNING, "trm_deploy"):
        assert hub.fetch("hf://o/n")[0] == path
    assert "the hub cannot be reached" in caplog.text
    assert COMMIT in caplog.text
    requests = len(server.requests)
    assert hub.fetch(f"hf://o/n/step_5@{COMMIT}")[0] == path
    assert len(server.requests) == requests, "a commit never changes: nobody is asked"
    with pytest.raises(TrmDeployError, match=r"cannot be reached .*, and the file was not fetched before"):
        hub.fetch("hf://o/other")


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRM_DEPLOY_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    result = trm("fetch", "hf://o/n")
    assert_one_line_error(result, 1, "hf://o/n@main: the hub cannot be reached", "HF_ENDPOINT")
    assert result.stdout == ""


def test_commands_take_a_name_and_the_record_says_where_the_checkpoint_came_from(
    server: FakeHub, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    data = tiny_checkpoint.read_bytes()
    server.add("o/tiny", {"models/ema.pt": data})
    name = "hf://o/tiny/models/ema.pt"
    engine = api.export_model(name, tmp_path / "m.onnx", graph="step")
    built = record.read(engine)
    assert built is not None
    digest = hashlib.sha256(data).hexdigest()
    assert built.checkpoint_source == {"name": name, "revision": COMMIT, "sha256": digest}
    assert built.checkpoint_sha256 == digest
    assert api.inspect(name)["fetched_from"] == f"{name}@{COMMIT}"
    with api.Solver(name, runtime="torch", attempts=1) as solver:
        assert solver.task == "sudoku-4x4"
    server.add("o/exported", {path.name: path.read_bytes() for path in bundle.present(engine)})
    assert api.verify("hf://o/exported/m.onnx", runtime="onnxruntime").passed
    assert api.compare(name, ["hf://o/exported"], limit=2, controls=1).passed
    run = trm("run", "-e", "hf://o/exported", "..34341221434321", "--json", "--runtime", "onnxruntime")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["puzzle"] == "0034341221434321"
    printed = trm("fetch", name, "--json")
    assert json.loads(printed.stdout) == {
        "schema": 1, "file": str(hub.fetch(name)[0]), "name": name, "revision": COMMIT, "sha256": digest,
        "bytes": len(data),
    }  # fmt: skip


def test_an_altered_file_is_no_longer_what_was_fetched(server: FakeHub, caplog: pytest.LogCaptureFixture) -> None:
    server.add("o/n", {"step_5": BIG})
    path, found = hub.fetch("hf://o/n/step_5")
    assert hub.origin(path, found.sha256) == found
    with caplog.at_level(logging.WARNING, "trm_deploy"):
        assert hub.origin(path, "0" * 64) is None
    assert "is not the file that was fetched" in caplog.text
    fetched.path_of(path).write_text("{")
    with pytest.raises(InputError, match="does not tell where step_5 came from"):
        hub.origin(path, found.sha256)


def test_every_entry_of_the_catalogue_has_its_pages_and_settings_of_its_task() -> None:
    found = catalogue.entries()
    assert len({entry.name for entry in found}) == len(found) >= 14
    for entry in found:
        assert entry.pages[0] == f"https://huggingface.co/{entry.repository}"
        assert entry.settings["task"] == entry.task
        assert entry.settings["seq_len"] == get(entry.task).cells
        assert names.parse(entry.name).file == entry.file
    owners = {entry.repository.partition("/")[0] for entry in found}
    assert owners == {"arcprize", "Sanjin2024", "alphaXiv", "Trelis", "sapientinc"}


def test_a_checkpoint_of_the_catalogue_needs_no_flags(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its own files say nothing, the catalogue does; its own files go before that, and a flag before both."""
    model = model_of({"mixer": "mlp", "positions": "none"})
    torch.save(published_weights(model), tmp_path / "weights")
    data = (tmp_path / "weights").read_bytes()
    entry = catalogue.Entry(
        repository="o/public", file="step_5", model="", task="sudoku-4x4", pages=(),
        settings={
            "task": "sudoku-4x4", "seq_len": 16, "arch.H_cycles": 2, "arch.L_cycles": 3, "arch.halt_max_steps": 6,
            "arch.expansion": 4, "arch.no_ACT_continue": True, "arch.puzzle_emb_len": 2,
        },
    )  # fmt: skip
    monkeypatch.setattr(catalogue, "entries", lambda: (entry,))
    server.add("o/public", {"step_5": data, "step_6": data})
    loaded = checkpoints.load(hub.fetch("hf://o/public")[0])
    assert loaded.spec.recursion == model.spec.recursion
    assert loaded.spec.architecture == dataclasses.replace(model.spec.architecture, heads=1)
    assert (loaded.spec.task.name, loaded.spec.halting) == ("sudoku-4x4", model.spec.halting)
    assert "arch.H_cycles = 2 (catalogue.toml)" in loaded.settings
    with pytest.raises(InputError, match=r"its weights cannot tell arch.H_cycles"):
        checkpoints.load(hub.fetch("hf://o/public/step_6")[0])
    server.add("o/public", {"step_5": data, "all_config.yaml": b"arch: {H_cycles: 4}"}, commit=OTHER)
    path = hub.fetch("hf://o/public")[0]
    assert checkpoints.load(path).spec.recursion.deep == 4
    assert checkpoints.load(path, ("arch.H_cycles=5",)).spec.recursion.deep == 5


def test_fetch_lists_the_catalogue() -> None:
    text = trm("fetch", "--list")
    assert text.returncode == 0
    assert "hf://sapientinc/HRM-checkpoint-sudoku-extreme/checkpoint" in text.stdout
    assert text.stdout.count("not run here") == len(catalogue.entries())
    listed = json.loads(trm("fetch", "--list", "--json").stdout)
    assert [entry["name"] for entry in listed] == [entry.name for entry in catalogue.entries()]
    assert_one_line_error(trm("fetch"), 2, "no name is given", "--list")
    assert_one_line_error(trm("fetch", "ema.pt"), 2, "ema.pt: is not a name on the hub")
