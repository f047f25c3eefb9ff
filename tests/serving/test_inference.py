"""The Open Inference Protocol as NVIDIA's own client speaks it: tensors as JSON and as bytes, what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.conftest import ROOT, run_json
from tests.serving.conftest import SMALL, Served
from trm_deploy.puzzles.sudoku import Sudoku

PUZZLE = Sudoku(2, 2)
TOKENS = np.stack([PUZZLE.parse_line(line) for line in SMALL])
STEPS = 5


@pytest.fixture(scope="module")
def server(serve: Callable[..., Served], engines: dict[str, Path]) -> Served:
    return serve("--engine", engines["step"], "--engine", f"whole={engines['loop']}", "--batch", 4, "--max-puzzles", 20)


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4) as client:
        yield client


def tensor(values: Any, name: str = "tokens", *, binary: bool) -> Any:
    found = triton.InferInput(name, list(values.shape), "INT32")
    found.set_data_from_numpy(values, binary_data=binary)
    return found


def test_the_server_says_what_it_is(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("step")
    assert client.is_model_ready("whole", "1")
    assert not client.is_model_ready("nonsense")
    assert not client.is_model_ready("step", "2")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    for found in (client.get_model_metadata("step"), client.get_model_metadata("step", "1")):
        assert (found["name"], found["versions"]) == ("step", ["1"])
        assert found["inputs"] == [{"name": "tokens", "datatype": "INT32", "shape": [-1, 16]}]
        assert [tensor["name"] for tensor in found["outputs"]] == ["answer", "steps", "halt_logit"]
        assert found["parameters"] | {"vocabulary": None} == {
            "task": "sudoku-4x4",
            "vocabulary": None,
            "max_steps": 6,
            "halt_threshold": 0.0,
        }
        assert found["parameters"]["vocabulary"] == list(PUZZLE.vocabulary)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "bytes"])
def test_an_inference_is_one_attempt_of_run_to_the_last_bit(
    client: Any, engines: dict[str, Path], tmp_path: Path, binary: bool
) -> None:
    (tmp_path / "p.txt").write_text("\n".join(SMALL))
    expected = run_json("-e", engines["step"], "--batch", 4, "--attempts", 1, tmp_path / "p.txt")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("halt_logit", "answer", "steps")]
    found = client.infer("step", [tensor(TOKENS, binary=binary)], outputs=outputs, request_id="mine")
    assert found.get_response()["id"] == "mine"
    assert [PUZZLE.text(row) for row in found.as_numpy("answer")] == [answer["answer"] for answer in expected]
    assert found.as_numpy("steps").tolist() == [answer["steps"] for answer in expected]
    assert found.as_numpy("halt_logit").tolist() == [answer["halt_logit"] for answer in expected]
    assert (found.as_numpy("answer").dtype, found.as_numpy("halt_logit").dtype) == (np.int32, np.float32)
    # Without a word on outputs the client takes them all, as bytes.
    every = client.infer("step", [tensor(TOKENS, binary=binary)])
    assert np.array_equal(every.as_numpy("answer"), found.as_numpy("answer"))
    only = client.infer("step", [tensor(TOKENS, binary=binary)], outputs=outputs[2:])
    assert only.as_numpy("answer") is None
    assert np.array_equal(only.as_numpy("steps"), found.as_numpy("steps"))


def test_a_request_may_set_the_limits_of_its_attempts(client: Any) -> None:
    parameters = {"max_steps": STEPS, "halt_threshold": 1e9}
    for model in ("step", "whole"):
        found = client.infer(model, [tensor(TOKENS[:3], binary=True)], parameters=parameters)
        assert found.as_numpy("steps").tolist() == [STEPS] * 3
    with pytest.raises(InferenceServerException, match="max_steps is 25, expected 1 to 24"):
        client.infer("step", [tensor(TOKENS[:3], binary=True)], parameters={"max_steps": 25})


GOOD = {"name": "tokens", "shape": [1, 16], "datatype": "INT32", "data": TOKENS[0].tolist()}
REFUSED: list[tuple[Any, str]] = [
    ([], "not a JSON object"),
    ({}, "the input tokens is missing"),
    ({"inputs": 1}, "inputs is 1, expected a list"),
    ({"inputs": [GOOD, GOOD]}, "inputs has 'tokens' twice"),
    ({"inputs": [{**GOOD, "name": "board"}]}, "there is no input 'board', expected tokens"),
    ({"inputs": [{**GOOD, "datatype": "FP32"}]}, "is 'FP32', expected INT32"),
    ({"inputs": [{**GOOD, "shape": [16]}]}, r"tokens are int32 \[16\], expected int32 \[B, 16\]"),
    ({"inputs": [{**GOOD, "shape": [2, 16]}]}, r"its data is int64 \[16\], expected INT32 \[2, 16\]"),
    ({"inputs": [{**GOOD, "shape": [1, -16]}]}, "expected whole numbers of at least 1"),
    ({"inputs": [{**GOOD, "shape": [1 << 40, 1 << 40]}]}, "its data is int64"),
    ({"inputs": [{**GOOD, "data": [0.5] * 16}]}, "its data is float64"),
    ({"inputs": [{**GOOD, "data": ["1"] * 16}]}, "its data is <U1"),
    ({"inputs": [{**GOOD, "data": [[1], [1, 2]]}]}, "is no array of whole numbers"),
    ({"inputs": [{**GOOD, "data": [1 << 33] * 16}]}, "is beyond INT32"),
    ({"inputs": [{**GOOD, "data": [1 << 99] * 16}]}, "its data is object"),
    ({"inputs": [{**GOOD, "data": [9] * 16}]}, "tokens range from 9 to 9, expected 0 to 5"),
    ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 64}}]}, "0 bytes are left"),
    ({"inputs": [{**GOOD, "parameters": {"shared_memory_region": "x"}}]}, "has the parameter 'shared_memory_region'"),
    ({"inputs": [GOOD], "outputs": [{"name": "logits"}]}, "there is no output 'logits', expected answer, steps"),
    ({"inputs": [GOOD], "parameters": {"priority": 1}}, "has the parameter 'priority'"),
    ({"inputs": [GOOD], "parameters": {"max_steps": 0}}, "max_steps is 0"),
    ({"inputs": [GOOD], "parameters": {"halt_threshold": "x"}}, "halt_threshold is 'x'"),
    ({"inputs": [GOOD], "more": 1}, "the request has the key 'more'"),
    ({"inputs": [GOOD], "id": 7}, "id is 7"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED)
def test_what_is_malformed_is_refused_in_one_line(server: Served, body: Any, message: str) -> None:
    reply = server.ask("/v2/models/step/infer", body)
    assert reply.status == 400
    assert re.search(message, reply.json()["error"]), reply.json()


def test_bytes_that_do_not_fit_are_refused(server: Served) -> None:
    def ask(size: int, data: bytes, length: object = None) -> tuple[int, str]:
        entry = {"name": "tokens", "shape": [1, 16], "datatype": "INT32", "parameters": {"binary_data_size": size}}
        text = json.dumps({"inputs": [entry]}).encode()
        header = {"Inference_Header_Content_Length": str(len(text) if length is None else length)}
        reply = server.ask("/v2/models/step/infer", text + data, **header)
        return reply.status, reply.json().get("error", "")

    assert ask(64, TOKENS[0].tobytes())[0] == 200
    assert ask(64, TOKENS[0].tobytes()[:63]) == (400, "the input 'tokens': binary_data_size is 64, 63 bytes are left")
    assert ask(60, TOKENS[0].tobytes()[:60])[1].endswith("has 60 bytes, expected 64 for the shape [1, 16]")
    assert ask(64, TOKENS[0].tobytes() + b"x") == (400, "1 bytes are behind the last tensor")
    for length in ("-1", "x", 10_000, "1" * 30, "²"):
        assert ask(64, TOKENS[0].tobytes(), length)[0] == 400
    assert (
        server.ask("/v2/models/step/infer", {"inputs": [{**GOOD, "shape": [21, 16], "data": [1] * 336}]}).status == 413
    )


def test_the_example_of_the_documentation_runs(
    serve: Callable[..., Served], capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "serving.md").read_text("utf-8")
    examples = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "127.0.0.1:8080" in code]
    assert len(examples) == 1
    server = serve()
    exec(examples[0].replace("127.0.0.1:8080", f"127.0.0.1:{server.port}"), {})
    shown = capsys.readouterr().out
    assert shown.startswith("[[5 3 4 6 7 8 9 1 2 6 7 2")
    assert shown.endswith("[1]\n")
