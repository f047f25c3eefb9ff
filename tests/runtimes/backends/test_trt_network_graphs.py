"""What TensorRT reads in our graphs computes what PyTorch computes, and what is changed in it changes the result."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from tests.conftest import ASSETS, GRAPHS, PRECISIONS, PRESETS, ROOT, Graph, exported, random_model, tiny_spec
from tests.runtimes.backends.test_trt_network import Made
from trm_deploy import checkpoints
from trm_deploy.cli.app import app
from trm_deploy.evaluation import parity
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.export.graph import assemble
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes import load
from trm_deploy.runtimes.backends.trt_network.evaluator import Evaluator
from trm_deploy.runtimes.backends.trt_network.network import parse, read
from trm_deploy.runtimes.backends.trt_network.runtime import NetworkSession
from trm_deploy.runtimes.graph_runtime import GraphRuntime
from trm_deploy.signature import Precision

trt = pytest.importorskip("tensorrt_rtx")

STEPS = 3  # of the unrolled form
# Form, whether the inner recursions are written out, precision. The types do not depend on how recursions are written.
CASES: list[tuple[Graph, bool, Precision]] = [
    *((graph, False, precision) for graph in GRAPHS for precision in PRECISIONS),
    ("loop", True, "fp32"),
    ("step", True, "fp32"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


def made(preset: str, graph: Graph, precision: Precision = "fp32", *, unroll_inner: bool = False) -> onnx.ModelProto:
    return exported(
        preset,
        graph,
        steps=STEPS if graph == "unrolled" else None,
        precision=precision,
        unroll_inner=unroll_inner,
        static_scales=precision == "int8",
    )


def opened(path: Path) -> GraphRuntime:
    runtime = load(path, "trt-network")
    assert isinstance(runtime, GraphRuntime)
    return runtime


@functools.cache
def questions(preset: str) -> tuple[RecursiveReasoner, NDArray[np.int32]]:
    """A model and questions whose halting logits lie clear of the threshold 0 in every step."""
    model = random_model(tiny_spec(preset))
    tokens = np.random.default_rng(1).integers(6, size=(64, 16)).astype(np.int32)
    logits = np.stack([
        solve(model, torch.from_numpy(tokens), max_steps=step, halt_threshold=math.inf).halt_logit.numpy()
        for step in range(1, 7)
    ])  # fmt: skip
    clear = np.abs(logits).min(0) > 0.05
    return model, tokens[clear][:8]


@pytest.mark.parametrize(("graph", "unroll_inner", "precision"), CASES)
@pytest.mark.parametrize("preset", PRESETS)
def test_what_tensorrt_read_gives_pytorchs_answers_and_steps(
    preset: str, graph: Graph, unroll_inner: bool, precision: Precision, folder: Path
) -> None:
    path = folder / f"{preset}-{graph}-{precision}.onnx"
    onnx.save(made(preset, graph, precision, unroll_inner=unroll_inner), path)
    model, tokens = questions(preset)
    engine = opened(path)
    assert (engine.backend, engine.graph, engine.precision) == ("trt-network", graph, precision)
    assert "what TensorRT's parser read, not an engine's kernels" in engine.arithmetic
    limit = STEPS if graph == "unrolled" else 6
    expected = solve(model, torch.from_numpy(tokens), max_steps=limit, halt_threshold=0.0)
    found = engine.solve(tokens, max_steps=limit, halt_threshold=0.0)
    np.testing.assert_array_equal(found.steps, expected.steps.numpy())
    bound = parity.BOUNDS[precision].logits
    np.testing.assert_allclose(found.logits, expected.logits.numpy(), atol=bound)
    clear = np.diff(np.sort(expected.logits.numpy(), axis=-1)[..., -2:])[..., 0] > 2 * bound
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(found.answer[clear], expected.answer.numpy()[clear])
    if graph == "step":  # from PyTorch's state at every step
        report = parity.compare(
            *reference_and_controls(model, 1),
            [(path.name, engine)],
            tokens,
            solved=None,
            max_steps=4,
            halt_threshold=0.0,
        )
        report.raise_if_failed()
        assert sum(difference.same_state for difference in report.engines[0].step_differences) == 4


def test_samples_halt_at_different_steps_in_what_was_compared() -> None:
    for preset in PRESETS:
        model, tokens = questions(preset)
        steps = solve(model, torch.from_numpy(tokens), max_steps=6, halt_threshold=0.0).steps
        assert len(tokens) == 8
        assert len(set(steps.tolist())) > 1, preset


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_bfloat16_and_int8(graph: Graph, precision: Precision, folder: Path) -> None:
    path = folder / f"{graph}-{precision}.onnx"
    onnx.save(made("trm-mlp", graph, precision), path)
    model, tokens = questions("trm-mlp")
    engine = opened(path)
    found = engine.solve(tokens, max_steps=STEPS, halt_threshold=math.inf)
    expected = solve(model, torch.from_numpy(tokens), max_steps=STEPS, halt_threshold=math.inf)
    differences = np.abs(found.logits - expected.logits.numpy())
    assert parity.BOUNDS["fp32"].logits < differences.max() < parity.BOUNDS[precision].logits
    # A narrower type, not other weights: half of all logits lie as near as its last bit lets them.
    assert np.median(differences) < 0.03


@pytest.mark.parametrize(("graph", "unroll_inner"), [("loop", False), ("step", False), ("loop", True)])
@pytest.mark.parametrize("preset", PRESETS)
def test_inner_loops_have_a_count_alone_and_halting_is_a_second_limit(
    preset: str, graph: Graph, unroll_inner: bool, folder: Path
) -> None:
    onnx.save(made(preset, graph, unroll_inner=unroll_inner), folder / "limits.onnx")
    network = parse(folder / "limits.onnx")
    limits: dict[int | None, set[str]] = {}
    for layer in network.of_kind("TRIP_LIMIT"):
        limits.setdefault(layer.loop, set()).add(layer.settings["kind"])
    outer = [{"COUNT", "WHILE"}] if graph == "loop" else []
    inner = [] if unroll_inner else [{"COUNT"}, {"COUNT"}]
    assert [limits[number] for number in range(len(network.loops))] == outer + inner


@pytest.mark.parametrize("dropped", ["COUNT", "WHILE"])
def test_either_limit_of_the_outer_loop_alone_gives_the_same_results(dropped: str, folder: Path) -> None:
    """So a turn too many, which TensorRT's loops were reported to take, changes nothing: who has halted is frozen."""
    onnx.save(made("trm-mlp", "loop"), folder / "either.onnx")
    network = parse(folder / "either.onnx")
    _, tokens = questions("trm-mlp")
    before = Evaluator(network)
    expected = before.run(feeds(tokens, max_steps=9))
    assert before.turns[network.loops[0]] == [expected["steps"].max()]
    assert expected["steps"].max() < 9
    network.layers.remove(
        next(layer for layer in network.of_kind("TRIP_LIMIT") if layer.loop == 0 and layer.settings["kind"] == dropped)
    )
    after = Evaluator(network)
    found = after.run(feeds(tokens, max_steps=9))
    assert after.turns[network.loops[0]] == [9 if dropped == "WHILE" else expected["steps"].max()]
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_loops_take_the_turns_that_the_model_has(folder: Path) -> None:
    """TensorRT's loops were reported to run one turn too many: by what its parser reads, ours do not."""
    onnx.save(made("hrm", "loop"), folder / "turns.onnx")
    model, tokens = questions("hrm")
    engine = opened(folder / "turns.onnx")
    for threshold in (0.0, math.inf):
        steps = int(engine.solve(tokens, max_steps=4, halt_threshold=threshold).steps.max())
        assert isinstance(engine.session, NetworkSession)
        outer, deep, latent = engine.session.evaluator.turns.values()
        recursion = model.spec.recursion
        assert outer == [steps]
        assert deep == [recursion.deep] * steps
        assert latent == [recursion.latent] * steps * recursion.deep


def feeds(tokens: NDArray[np.int32], *, max_steps: int = 6, halt_threshold: float = 0.0) -> dict[str, NDArray[Any]]:
    return {
        "tokens": tokens,
        "max_steps": np.array(max_steps, np.int32),
        "halt_threshold": np.array(halt_threshold, np.float32),
    }


def changed(change: Any) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Results of a parsed network before and after a change to it: to TensorRT's own object, not to the ONNX file."""
    _, tokens = questions("trm-mlp")
    network = Made().parsed(made("trm-mlp", "loop"))
    before = Evaluator(read(trt, network.definition, "loop.onnx")).run(feeds(tokens))
    change(network)
    return before, Evaluator(read(trt, network.definition, "loop.onnx")).run(feeds(tokens))


def test_a_changed_trip_limit_changes_the_result() -> None:
    def one_turn_more(network: Made) -> None:
        counts = [layer for layer in network.layers("TRIP_LIMIT") if layer.kind == trt.TripLimit.COUNT]
        counts[-1].set_input(0, network.constant(3, np.int32))  # of the innermost loop; the model has 2

    before, after = changed(one_turn_more)
    assert np.abs(before["logits"] - after["logits"]).max() > 0.01
    model, tokens = questions("trm-mlp")
    deeper = random_model(tiny_spec("trm-mlp", recursion={"latent": 3}))
    deeper.load_state_dict(model.state_dict())
    expected = solve(deeper, torch.from_numpy(tokens), max_steps=6, halt_threshold=0.0)
    np.testing.assert_allclose(after["logits"], expected.logits.numpy(), atol=1e-4)


def test_a_changed_constant_changes_the_result() -> None:
    weights = np.zeros((6, 32), np.float32)

    def forget_the_tokens(network: Made) -> None:
        (table,) = [layer for layer in network.layers("CONSTANT") if layer.name == "model.tokens.weight"]
        table.weights = weights

    before, after = changed(forget_the_tokens)
    assert np.ptp(before["logits"], axis=0).max() > 0.1
    assert np.ptp(after["logits"][after["steps"] == after["steps"][0]], axis=0).max() == 0  # all questions are one now


@pytest.mark.parametrize(("graph", "loops", "layers"), [("loop", 3, 372), ("step", 2, 293)])
def test_the_shipped_models_graph(graph: Graph, loops: int, layers: int, folder: Path) -> None:
    onnx.save(
        assemble.export_onnx(checkpoints.load(ASSETS / "sudoku.pt").model(), graph=graph), folder / "shipped.onnx"
    )
    network = parse(folder / "shipped.onnx")
    kinds = Counter(layer.kind for layer in network.layers)
    # 2 layers of 6 products each, in the loop of z and for y; the answer, the halting.
    assert kinds["MATRIX_MULTIPLY"] == 2 * 2 * 6 + 2
    assert kinds["REDUCE"] == 2 * 2 * 2 + (graph == "loop")  # the norms; whether all have halted
    assert kinds["TRIP_LIMIT"] == loops + (graph == "loop")
    assert len(network.loops) == loops
    assert len(kinds) == 20
    assert len(network.layers) == layers


def test_the_shipped_model_solves_a_puzzle() -> None:
    engine = opened(ASSETS / "sudoku.onnx")
    sudoku = Sudoku(3, 3)
    (question,) = reading.read(str(ROOT / "examples" / "puzzle.txt"), sudoku)
    assert question.tokens is not None
    found = engine.solve(question.tokens[None], max_steps=16, halt_threshold=0.0)
    assert sudoku.answer_faults(question.tokens, found.answer[0]) == []


def test_parity_by_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _ = questions("trm-mlp")
    checkpoint, path = folder / "c.pt", folder / "c.onnx"
    checkpoints.save(checkpoint, checkpoints.Checkpoint(model.spec, model.state_dict(), {}))
    onnx.save(made("trm-mlp", "step"), path)
    flags = ["--runtime", "trt-network", "--limit", "2", "--controls", "1", "--json"]
    app(["parity", str(checkpoint), str(path), *flags], standalone_mode=False)
    (engine,) = json.loads(capsys.readouterr().out)["engines"]
    assert engine["description"] == "TensorRT's network step fp32"
    assert engine["passed"]
