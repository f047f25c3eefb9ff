"""What claims more than there is, is refused in bounded memory."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.conftest import ROOT, load_tool, tiny_spec

hostile = load_tool("hostile")


def test_what_claims_more_than_there_is_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    """Every claim in one process, which may take a GiB more than it has when it begins."""
    _write_claims(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", READ_CLAIMS, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert outcomes.keys() == CLAIMS.keys()
    for name, expected in CLAIMS.items():
        kind, message = outcomes[name]
        assert kind in ("CheckpointError", "ArtefactError", "InputError", "SpecError", "RecipeError"), (name, message)
        assert expected in message, (name, message)


# What is claimed -> what the message says of it.
CLAIMS = {
    "spec length": "task.sequence_length is 1000000000, expected at most",
    "spec width": "architecture.hidden_size is 1000000000, expected at most",
    "spec layers": "architecture.layers is 1000000000, expected at most",
    "spec parameters": "parameters, expected at most",
    "spec number": "a whole number of 13,288 bits",
    "recipe": "data.puzzles is 1000000000, expected at least 1 and at most",
    "recipe batch": "training.batch_size is 1000000000 with training.rotation = 1: a state of",
    "recipe width": "architecture.hidden_size is 1000000000, expected at most",
    "recipe digits": "is not valid TOML",
    "dataset": "its header tells of 16000000000 values",
    "dataset header": "its header tells of 2,147,483,647 bytes of its own",
    "dataset identifiers": "num_puzzle_identifiers is 1000000000, more than the folder has puzzles",
    "table": "its header tells of 40000000000 values",
    "checkpoint": "its tensors claim 4,000,",
    "checkpoint packed": "is an archive with packed entries",
    "onnx": "a field reaches beyond the end",
    "plan": "is a TensorRT plan without a model spec",
    "golden schema": "golden vectors of schema 99, expected 1",
    "golden size": "unpacks to more than 1,073,741,824 bytes, expected golden vectors",
    "golden values": "a header tells of (1000000000, 40) values",
    "arc rows": "has 100000 rows, expected 1 to 30",
    "arc columns": "row 1 has 100000 cells, expected 1 to 30",
    "yaml": "arch.hidden_size is [[[",
}

READ_CLAIMS = """
import json, resource, sys
from pathlib import Path
import numpy, torch
from trm_deploy import checkpoints
from trm_deploy.artefacts import embeddings, golden, onnx_file
from trm_deploy.errors import TrmDeployError
from trm_deploy.puzzles.arc_tasks import read_tasks
from trm_deploy.spec import ModelSpec
from trm_deploy.train import recipe
from trm_deploy.train.data import sources
from trm_deploy.train.data.layout import read_split
from trm_deploy.train.data.settings import DatasetFolder
from trm_deploy.trt import plan_file

folder = Path(sys.argv[1])
has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + (1 << 30),) * 2)
table = ModelSpec.from_json((folder / "table.spec").read_text())
dataset = DatasetFolder(task="sudoku-4x4", folder=str(folder / "identifiers"))
read = {
    "spec": lambda path: ModelSpec.from_json(path.read_text()),
    "recipe": lambda path: recipe.load(str(path)),
    "dataset": lambda path: read_split(path.parent, path.name),
    "table": lambda path: embeddings.open_table(path, table),
    "checkpoint": checkpoints.load,
    "onnx": onnx_file.read,
    "plan": plan_file.read,
    "golden": lambda path: golden.require(path.with_suffix("").with_suffix("")),
    "arc": lambda path: read_tasks([str(path)]),
    "yaml": checkpoints.load,
}
outcomes = {}
for name, path in json.loads((folder / "claims.json").read_text()).items():
    try:
        if name == "dataset identifiers":
            sources.build(dataset, seed=0, held_out=4)
        else:
            read[name.split()[0]](Path(path))
        outcomes[name] = ("none", "")
    except TrmDeployError as error:
        outcomes[name] = (type(error).__name__, str(error))
    except BaseException as error:
        outcomes[name] = ("raised " + type(error).__name__, str(error)[:300])
print(json.dumps(outcomes))
"""


def _write_claims(folder: Path) -> None:
    """A file for each of `CLAIMS`, and claims.json with their places."""
    spec = json.loads(tiny_spec("trm-mlp").to_json())
    places: dict[str, Path] = {}

    def write(name: str, content: str | bytes, file: str = "") -> Path:
        path = places[name] = folder / (file or name.replace(" ", "-"))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def with_spec(**architecture: Any) -> str:
        return json.dumps({**spec, "architecture": {**spec["architecture"], **architecture}})

    write("spec length", json.dumps({**spec, "task": {**spec["task"], "sequence_length": 10**9}}))
    write("spec width", with_spec(hidden_size=10**9))
    write("spec layers", with_spec(layers=10**9))
    write("spec parameters", with_spec(hidden_size=65536, layers=100))
    write("spec number", with_spec(hidden_size=10**4000))

    recipe = hostile.interruptions.RECIPE
    write("recipe", recipe.replace("puzzles = 200", "puzzles = 1000000000"), "r0.toml")
    write("recipe batch", recipe.replace("batch_size = 8", "batch_size = 1000000000"), "r1.toml")
    write("recipe width", recipe.replace("hidden_size = 32", "hidden_size = 1000000000"), "r2.toml")
    write("recipe digits", recipe.replace("puzzles = 200", "puzzles = " + "9" * 5000), "r3.toml")

    from trm_deploy.train.data import layout as dataset

    def npy(shape: tuple[int, ...], kind: str) -> bytes:
        text = str({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()

    tokens = np.ones((4, 16), np.uint8)
    split = dataset.of_single_examples(tokens, tokens, vocabulary=6)
    for name in ("dataset", "dataset header", "dataset identifiers"):
        place = folder / (name.split()[-1])
        dataset.write_dataset(place, {"train": split, "test": split}, names=("<blank>",))
        places[name] = place / "train"
    (folder / "dataset" / "train" / "all__inputs.npy").write_bytes(npy((10**9, 16), "|u1"))
    header = b"\x93NUMPY\x02\x00" + (2**31 - 1).to_bytes(4, "little")
    (folder / "header" / "train" / "all__puzzle_identifiers.npy").write_bytes(header)
    for part in ("train", "test"):
        metadata = folder / "identifiers" / part / "dataset.json"
        metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "num_puzzle_identifiers": 10**9}))
    (folder / "identifiers" / "identifiers.json").unlink()

    task = {**spec["task"], "puzzle_identifiers": 10**9}
    (folder / "table.spec").write_text(json.dumps({**spec, "task": task}))
    write("table", b"")
    (folder / "table.embeddings.npy").write_bytes(npy((10**9, 40), "<f4"))

    document = {"format": "trm-deploy", "schema": 1, "spec": json.dumps(spec), "training": {}}
    claims = folder / "claims.pt"
    torch.save({**document, "ema": {"y_init": torch.ones(1).expand(10**9)}}, claims)
    places["checkpoint"] = claims
    packed = places["checkpoint packed"] = folder / "packed.pt"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("packed/data.pkl", pickle.dumps({}))
        archive.writestr("packed/data/0", bytes(100 << 20))

    write("onnx", b"\x08\x0a\x3a\xff\xff\xff\xff\x7f" + bytes(100))
    write("plan", b"ftrt" + b'{"schema":' * 100_000)
    for name, member, content in (
        ("golden schema", "meta.npy", npy((14,), "|u1") + b'{"schema": 99}'),
        ("golden size", "logits.npy", b"little"),
        ("golden values", "logits.npy", npy((10**9, 40), "<f4")),
    ):
        places[name] = folder / f"{name.replace(' ', '-')}.golden.npz"
        with zipfile.ZipFile(places[name], "w") as archive:
            archive.writestr(member, content)
            archive.filelist[0].file_size += (2 << 30) * (name == "golden size")  # in the archive's own list
    big = [[0] * 100_000]
    for name, grid in (("arc rows", [[0]] * 100_000), ("arc columns", big)):
        write(name, json.dumps({"a": {"train": [], "test": [{"input": grid}]}}))

    (path, _) = hostile.kinds.KINDS["its all_config.yaml and dataset.json"].make(folder / "published")
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
    path.write_text("\n".join([*lines, "arch:", "  hidden_size: *a29", ""]))
    places["yaml"] = path.with_name("step_1")
    (folder / "claims.json").write_text(json.dumps({name: str(path) for name, path in places.items()}))
