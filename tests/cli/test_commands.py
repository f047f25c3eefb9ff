"""The commands as a user types them: exit codes, one-line errors, what goes to stdout and what to stderr."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.support import machine

EASY = "..34341221434321"
ROOT = Path(__file__).parents[2]


def trm(*arguments: object, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trm_deploy", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def assert_one_line_error(result: subprocess.CompletedProcess[str], code: int, *parts: object) -> None:
    assert result.returncode == code, result.stderr
    error = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert str(part) in error[0]


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "tiny.onnx"
    result = trm("export", tiny_checkpoint, "--format", "onnx", "-o", path)
    assert result.returncode == 0, result.stderr
    assert "parity holds" in result.stderr
    return path


def test_export_leaves_a_record_beside_the_file(engine: Path, tiny_checkpoint: Path) -> None:
    record = json.loads(Path(f"{engine}.json").read_text())
    assert record["schema"] == 2
    assert (record["graph"], record["precision"], record["precision_source"]) == ("loop", "fp32", "network")
    assert (record["opset"], record["ir_version"]) == (20, 10)
    assert record["parity"]["passed"] is True
    assert record["parity"]["largest_logit_difference"] < 1e-4
    assert record["versions"]["torch"].startswith("2.13.0")
    assert sorted(path.name for path in engine.parent.iterdir()) == [
        "tiny.onnx",
        "tiny.onnx.golden.npz",
        "tiny.onnx.json",
    ]


def test_export_names_the_output_after_the_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert trm("export", tiny_checkpoint, "--graph", "step", cwd=tmp_path).returncode == 0
    assert (tmp_path / "tiny.onnx").is_file()


def test_run_prints_one_json_object_a_puzzle_in_order(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{EASY}\nrubbish\n1234341221434321\n")
    result = trm("run", "--engine", engine, "--json", tmp_path / "p.txt")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 2
    assert [line["puzzle"] for line in lines] == [EASY.replace(".", "0"), "rubbish", "1234341221434321"]
    assert set(lines[1]) == {"puzzle", "error"}
    assert "p.txt line 2 column 1: found 'r', expected a digit 1-4" in lines[1]["error"]
    assert set(lines[0]) == {
        "puzzle", "answer", "steps", "attempts", "total_steps", "halted", "halt_logit", "verified", "milliseconds",
    }  # fmt: skip
    puzzle = Sudoku(2, 2)
    for line in (lines[0], lines[2]):
        faults = puzzle.answer_faults(*(puzzle.parse_line(line[key]) for key in ("puzzle", "answer")))
        assert line["verified"] == (not faults)


def test_run_draws_a_grid_and_never_calls_a_wrong_answer_solved(engine: Path) -> None:
    result = trm("run", "--engine", engine, "-", stdin=EASY + "\n")
    assert result.returncode == 0
    assert "standard input line 1" in result.stdout
    assert "NOT SOLVED, this is the best attempt" in result.stdout
    assert "broken rules:" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_checkpoint_runs_like_an_engine(engine: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{EASY}\n{EASY[::-1]}\n")
    answers = []
    for path in (engine, tiny_checkpoint):
        lines = trm("run", "--engine", path, "--json", tmp_path / "p.txt", "--attempts", 3).stdout.splitlines()
        answers.append([[json.loads(line)[key] for key in ("answer", "steps", "total_steps")] for line in lines])
    assert answers[0] == answers[1]


def test_the_threshold_comes_from_the_flag_or_the_record(engine: Path) -> None:
    def steps(*flags: object) -> tuple[int, bool]:
        line = json.loads(trm("run", "--engine", engine, "--json", "-", *flags, stdin=EASY).stdout)
        return line["steps"], line["halted"]

    assert steps("--halt-threshold", "inf") == (6, False)
    assert steps("--halt-threshold", "-inf") == (1, True)
    assert steps("--halt-threshold", "inf", "--max-steps", 3) == (3, False)
    record = Path(f"{engine}.json")
    before = record.read_text()
    try:
        record.write_text(json.dumps({**json.loads(before), "halting_threshold": 1e9}))
        assert steps() == (6, False)
        assert steps("--halt-threshold", "-inf") == (1, True)
    finally:
        record.write_text(before)


def test_parity_passes_and_fails_with_exit_code_3(engine: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = trm("parity", tiny_checkpoint, engine, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["passed"] is True
    document = torch.load(tiny_checkpoint, weights_only=True)
    document["ema"]["answer_head.weight"] += 0.01
    torch.save(document, tmp_path / "damaged.pt")
    failed = trm("parity", tmp_path / "damaged.pt", engine, "--json")
    assert_one_line_error(failed, 3, engine, "parity with PyTorch fails: step 1: differs by")
    assert json.loads(failed.stdout)["passed"] is False


def test_inspect_and_doctor(engine: Path, tiny_checkpoint: Path) -> None:
    document = json.loads(trm("inspect", engine, "--json").stdout)
    assert (document["schema"], document["kind"], document["graph"], document["precision"]) == (
        1,
        "ONNX",
        "loop",
        "fp32",
    )
    assert document["task"] == "sudoku-4x4"
    assert "parity held" in document["build_record"]
    assert any(line.startswith("tokens tensor(int32)") for line in document["inputs"])
    assert json.loads(trm("inspect", tiny_checkpoint, "--json").stdout)["kind"] == "checkpoint"
    assert "sudoku-4x4" in trm("inspect", tiny_checkpoint).stdout
    health = json.loads(trm("doctor", "--json").stdout)
    assert health["onnxruntime"].endswith("CPUExecutionProvider)")
    assert health["schema"] == 1
    if "missing" in health["tensorrt"]:
        assert health["tensorrt"].startswith("missing; type: pip install 'trm-deploy[tensorrt]'")
    assert {"gpu", "driver", "tensorrt_rtx", "cuda_python"} <= set(health)


def test_bad_puzzle_files(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "table.csv").write_text("name,colour\nbox,red\n")
    assert_one_line_error(trm("run", "-e", engine, tmp_path / "empty.txt"), 2, "empty.txt: holds no puzzle")
    assert_one_line_error(trm("run", "-e", engine, tmp_path / "binary.txt"), 2, "is not text")
    assert_one_line_error(trm("run", "-e", engine, tmp_path / "table.csv"), 2, "no column is named puzzle or question")
    assert_one_line_error(trm("run", "-e", engine, tmp_path / "none.txt"), 2, "none.txt: there is no such file")
    assert_one_line_error(trm("run", "-e", engine, tmp_path), 2, "is a folder")
    assert_one_line_error(trm("run", "-e", engine, "-", stdin="55.." + "." * 12), 2, "expected", "line 1 column 1")
    assert_one_line_error(trm("run", "-e", engine, "-", stdin="11.." + "." * 12), 2, "row 1 has 1 twice")


def test_bad_engines_and_checkpoints(engine: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(engine.read_bytes()[:5000])
    assert_one_line_error(trm("run", "-e", tmp_path / "cut.onnx", "-", stdin=EASY), 2, "cut.onnx: is not an ONNX ")
    (tmp_path / "cut.pt").write_bytes(tiny_checkpoint.read_bytes()[:5000])
    assert_one_line_error(trm("export", tmp_path / "cut.pt"), 2, "cut.pt: is not a checkpoint, or is truncated")
    assert_one_line_error(trm("export", tmp_path / "none.pt"), 2, "none.pt: there is no such file")
    assert_one_line_error(trm("inspect", tmp_path / "none.pt"), 2, "none.pt: there is no such file")
    document = torch.load(tiny_checkpoint, weights_only=True)
    document["ema"]["tokens.weight"] = torch.zeros(9, 32)
    torch.save(document, tmp_path / "shape.pt")
    assert_one_line_error(
        trm("export", tmp_path / "shape.pt"), 2, "shape.pt", "tokens.weight has the shape [9, 32]", "expects [6, 32]"
    )
    assert not list(Path.cwd().glob("shape.onnx*"))


def test_usage_errors(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert_one_line_error(trm("run"), 2, "type: trm-deploy run --help")
    assert_one_line_error(trm("run", "x", "--attempts", 0), 2, "--attempts", "trm-deploy run --help")
    assert_one_line_error(trm("run", "x", "--halt-threshold", "nan"), 2, "nan' is not a number, inf or -inf")
    assert_one_line_error(trm("run", "x", "--resume"), 2, "--resume needs -o", "add -o FILE")
    assert_one_line_error(trm("nonsense"), 2, "nonsense", "trm-deploy --help")
    assert_one_line_error(trm("export", tiny_checkpoint, "--steps", 4), 2, "--steps applies to --graph unrolled")
    assert_one_line_error(trm("export", tiny_checkpoint, "--format", "tflite"), 2, "tflite", "onnx")
    assert_one_line_error(trm("train", "chess"), 2, "no recipe or file has that name, expected one of", "sudoku-4x4")
    assert_one_line_error(trm("export", tiny_checkpoint, "-o", tmp_path), 2, "is a folder")
    assert_one_line_error(trm("export", tiny_checkpoint, "--opset", "0"), 2, "opset", "0")
    assert_one_line_error(trm("run", "--max-steps", "3000000000", "-", stdin=EASY), 2, "--max-steps", "65536")
    (tmp_path / "file").touch()
    assert_one_line_error(trm("export", tiny_checkpoint, "-o", tmp_path / "file" / "x.onnx"), 2, "cannot be written")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = trm("--debug", "inspect", tmp_path / "none.pt")
    assert result.returncode == 2
    assert "Traceback" in result.stderr


def test_a_closed_pipe_is_no_error(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text(f"{EASY}\n" * 2000)
    command = f"{sys.executable} -m trm_deploy run -e {engine} --json {tmp_path}/many.txt | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


def test_export_to_rtx_ahead_of_time(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = trm("export", tiny_checkpoint, "--format", "rtx", "--target", "rtx-4090", "-o", tmp_path / "t.plan")
    assert result.returncode == 0, result.stderr
    assert "parity holds" in result.stderr  # of the ONNX file; the engine's is checked on its device
    assert f"type on the device: trm-deploy verify {tmp_path / 't.plan'}\n" in result.stderr
    names = [
        name
        for artefact in ("t.plan", "t.plan.onnx")
        for name in (artefact, f"{artefact}.golden.npz", f"{artefact}.json")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    seen = json.loads(trm("inspect", tmp_path / "t.plan", "--json").stdout)
    assert (seen["kind"], seen["graph"]) == ("TensorRT for RTX plan", "loop")
    assert (seen["precision"], seen["batch"]) == ("fp16 (by the network)", "1:16:128")
    assert seen["compute_capability"] == "8.9"
    onnx = json.loads(trm("inspect", tmp_path / "t.plan.onnx", "--json").stdout)
    assert (onnx["kind"], onnx["precision"]) == ("ONNX", "fp16")
    if machine.gpu() is None:
        run = trm("run", "-e", tmp_path / "t.plan", "-", stdin=EASY)
        assert_one_line_error(run, 4, "t.plan: a plan needs an NVIDIA GPU")
        assert_one_line_error(trm("verify", tmp_path / "t.plan"), 4, "t.plan: a plan needs an NVIDIA GPU")


def test_export_to_trt_without_tensorrt_leaves_the_onnx_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here")
    result = trm("export", tiny_checkpoint, "--format", "trt", "-o", "t.plan", cwd=tmp_path)
    command = "trm-deploy export t.plan.onnx --format trt --batch 1:8:64 -o t.plan"
    assert_one_line_error(result, 4, "tensorrt", "pip install 'trm-deploy[tensorrt]'", f"type on the device: {command}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "t.plan.onnx",
        "t.plan.onnx.golden.npz",
        "t.plan.onnx.json",
    ]
    # The command that it names, up to the missing package:
    assert_one_line_error(trm(*command.split()[1:], cwd=tmp_path), 4, "type on the device")


def test_export_flags_that_would_do_nothing(engine: Path, tiny_checkpoint: Path) -> None:
    for flags, part in (
        (("--batch", "1:2:4"), "--batch is 1:2:4, expected one number"),
        (("--workspace", "5"), "--workspace applies to --format trt or rtx"),
        (("--version-compatible",), "--version-compatible applies to --format trt, not to --format onnx"),
        (("--format", "trt", "--compute-capability", "8.6"), "--compute-capability applies to --format rtx"),
        (("--format", "rtx", "--batch", "4:2:1"), "expected 1 <= MIN <= OPT <= MAX"),
        (("--format", "rtx", "--target", "jetson-thor"), "is not served by TensorRT for RTX"),
        (("--target", "toaster"), "--target is 'toaster', expected one of"),
    ):
        assert_one_line_error(trm("export", tiny_checkpoint, *flags), 2, part)
    assert_one_line_error(trm("export", engine), 2, "is an ONNX file already")
    assert_one_line_error(trm("export", engine, "--format", "rtx", "--graph", "step"), 2, "has its graph already")
    assert_one_line_error(trm("export", "none.onnx", "--format", "rtx"), 2, "none.onnx: there is no such file")


def test_data_build(tmp_path: Path) -> None:
    result = trm("data", "build", "maze", "--size", "5x6", "--train", 4, "--test", 2, "--augment", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "wrote data/maze-5x6: maze-5x6, 4 training puzzles in 2 forms each, 2 test puzzles" in result.stderr
    assert json.loads((tmp_path / "data" / "maze-5x6" / "train" / "dataset.json").read_text())["seq_len"] == 30
    assert_one_line_error(trm("data", "build", "maze", "--size", "5x6", cwd=tmp_path), 2, "holds a dataset already")
    assert_one_line_error(trm("data", "build", "chess"), 2, "chess", "type: trm-deploy data build --help")
