"""A Triton model repository: its configuration read with Triton's own protobuf, and compared with the file's tensors.

No Triton server runs here. What a server does with the configuration is acted out with ONNX Runtime.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import cuda.bindings
import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format

from tests import stand_ins
from tests.conftest import Graph, exported, random_model, tiny_spec
from trm_deploy import puzzles
from trm_deploy.artefacts import onnx_file
from trm_deploy.errors import InputError, MissingPackage, ParityFailure
from trm_deploy.export import onnx_artefact
from trm_deploy.export.check import Checked
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.export.options import ExportOptions
from trm_deploy.export.pipeline import run_export
from trm_deploy.export.triton import config, labels
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import StepRuntime, initial_numpy_state
from trm_deploy.signature import BakedLimits
from trm_deploy.support import machine
from trm_deploy.support.machine import Gpu

model_config_pb2: Any = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient[grpc]")

TYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP16": "tensor(float16)",
}


def holds(checkpoint: Any, artefact: Path, name: str, /) -> Checked:
    return Checked({"passed": True, "puzzles": 12, "largest_logit_difference": 3.14e-6})


def written(checkpoint: Path, folder: Path, **options: Any) -> Path:
    """The model's folder in a new repository."""
    given = ExportOptions(source=checkpoint, output=folder / "models", format="triton", **options)
    return run_export(given, check=holds).parent.parent


def parsed(model: Path) -> Any:
    return text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def shape(tensor: Any) -> list[int | str]:
    """The shape that the model sees, the batch first."""
    return ["batch", *(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)]


def name_of(data_type: int) -> str:
    return TYPES[model_config_pb2.DataType.Name(data_type)]


def tensors(found: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs that a server gives and takes, by their names: ONNX type and shape."""
    inputs = {tensor.name: (name_of(tensor.data_type), shape(tensor)) for tensor in found.input}
    outputs = {tensor.name: (name_of(tensor.data_type), shape(tensor)) for tensor in found.output}
    for control in found.sequence_batching.control_input:
        assert [list(one.bool_false_true) for one in control.control] == [[False, True]]
        inputs[control.name] = ("tensor(bool)", ["batch", 1])
    for state in found.sequence_batching.state:
        inputs[state.input_name] = outputs[state.output_name] = (name_of(state.data_type), ["batch", *state.dims])
    return inputs, outputs


@pytest.mark.parametrize(("graph", "precision"), [("loop", "fp32"), ("step", "fp16"), ("step", "int8")])
def test_the_configuration_has_the_tensors_of_the_file(
    graph: Graph, precision: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    model = written(tiny_checkpoint, tmp_path, graph=graph, precision=precision, batch="16")
    assert model.name == ("tiny-step" if graph == "step" else "tiny")
    found = parsed(model)
    assert (found.name, found.backend, found.max_batch_size) == (model.name, "onnxruntime", 16)
    session = onnxruntime.InferenceSession(str(model / "1" / "model.onnx"))
    inputs, outputs = tensors(found)
    assert inputs == {tensor.name: (tensor.type, tensor.shape) for tensor in session.get_inputs()}
    assert outputs == {tensor.name: (tensor.type, tensor.shape) for tensor in session.get_outputs()}
    assert found.HasField("sequence_batching") == (graph == "step")
    assert found.HasField("dynamic_batching") == (graph == "loop")
    assert [group.kind for group in found.instance_group] == ([2] if precision == "int8" else [])
    (logits,) = (tensor for tensor in found.output if tensor.name == "logits")
    lines = (model / logits.label_filename).read_text().splitlines()
    assert len(lines) == int(np.prod(logits.dims))
    assert lines[5 * 6 + 3] == "row 2 column 2: 2"  # tokens: pad, blank, 1, 2, 3, 4
    told = {key: value.string_value for key, value in found.parameters.items()}
    assert json.loads(told["trm_deploy.vocabulary"]) == ["pad", ".", "1", "2", "3", "4"]
    assert (told["trm_deploy.task"], told["trm_deploy.max_steps"]) == ("sudoku-4x4", "6")


def test_a_model_with_many_puzzles_takes_their_numbers(tmp_path: Path) -> None:
    """A row a sample with nothing beside it: Triton has no such tensor, and reshapes one."""
    path = tmp_path / "m.onnx"
    model = random_model(tiny_spec("trm-mlp", identifiers=5))
    path.write_bytes(export_onnx(model, graph="unrolled", steps=2, baked=BakedLimits(2, 0.5)).SerializeToString())
    found = text_format.Parse(
        config("m", "onnxruntime", onnx_file.read(path), largest_batch=8), model_config_pb2.ModelConfig()
    )
    session = onnxruntime.InferenceSession(str(path))
    inputs, outputs = tensors(found)
    assert inputs == {tensor.name: (tensor.type, tensor.shape) for tensor in session.get_inputs()}
    assert outputs == {tensor.name: (tensor.type, tensor.shape) for tensor in session.get_outputs()}
    assert inputs["puzzle_ids"] == ("tensor(int32)", ["batch"])
    assert found.input[1].dims == [1]
    assert found.parameters["trm_deploy.halt_threshold"].string_value == "0.5"


def test_sequences_give_the_steps_of_the_step_form(tmp_path: Path) -> None:
    """As the server does it: a first request comes with START, and with whatever is in memory as its state."""
    model = random_model(tiny_spec("trm-mlp"))
    (tmp_path / "s.onnx").write_bytes(export_onnx(model, graph="step", reset_column=True).SerializeToString())
    (tmp_path / "plain.onnx").write_bytes(exported("trm-mlp", "step").SerializeToString())
    plain, session = load(tmp_path / "plain.onnx"), onnxruntime.InferenceSession(str(tmp_path / "s.onnx"))
    assert isinstance(plain, StepRuntime)
    tokens = puzzles.get("sudoku-4x4").examples()[:3].astype(np.int32)
    states = [np.full((3, *size), np.nan, np.float32) for size in model.spec.state_shapes]
    y, z = initial_numpy_state(model.spec, 3)
    # The third sequence begins when the others are under way.
    for step, start in enumerate(([1, 1, 1], [0, 0, 0], [0, 0, 1], [0, 0, 0])):
        reset = np.array(start, bool)
        feeds = {"tokens": tokens, "reset": reset[:, None], "y": states[0], "z": states[1]}
        names = ["y_next", "z_next", "answer", "halt_logit", "logits"]
        *states, answer, halt_logit, logits = session.run(names, feeds)
        expected = plain.step(tokens, reset, y, z)
        y, z = expected.y, expected.z
        np.testing.assert_array_equal(answer, np.asarray(expected.answer), str(step))
        np.testing.assert_array_equal(halt_logit, expected.halt_logit)
        np.testing.assert_array_equal(logits, np.asarray(expected.logits))
    # Our own runtimes take the file as they take any other.
    column = load(tmp_path / "s.onnx")
    for limit in (1, 6):
        ours = column.solve(tokens, max_steps=limit, halt_threshold=0.0)
        theirs = plain.solve(tokens, max_steps=limit, halt_threshold=0.0)
        np.testing.assert_array_equal(ours.logits, theirs.logits)
        np.testing.assert_array_equal(ours.steps, theirs.steps)
    assert onnx_file.read_metadata(session.get_modelmeta().custom_metadata_map, tmp_path).reset_column


@pytest.mark.parametrize("graph", ["loop", "step"])
def test_tensorrt_parses_and_builds_it(graph: Any, tmp_path: Path) -> None:
    """With TensorRT for RTX, which builds without a GPU: its network has the tensors of the configuration."""
    rtx = pytest.importorskip("tensorrt_rtx")
    model = random_model(tiny_spec("trm-mlp"))
    source = tmp_path / "m.onnx"
    how: dict[str, Any] = {"reset_column": True} if graph == "step" else {"baked": BakedLimits(6, 0.0)}
    source.write_bytes(export_onnx(model, graph=graph, precision="fp16", **how).SerializeToString())
    options = EngineOptions(
        format="rtx", batch=BatchProfile(1, 2, 4), compute_capabilities=("8.6",), constant_limits=True
    )
    build_engine(source, tmp_path / "m.plan", options)
    found = text_format.Parse(
        config("m", "tensorrt", onnx_file.read(source), largest_batch=4), model_config_pb2.ModelConfig()
    )
    logger = rtx.Logger(rtx.Logger.ERROR)
    network = rtx.Builder(logger).create_network(1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert rtx.OnnxParser(network, logger).parse(source.read_bytes())
    types = {"BOOL": "tensor(bool)", "INT32": "tensor(int32)", "FLOAT": "tensor(float)", "HALF": "tensor(float16)"}
    for wanted, count, get in zip(
        tensors(found), (network.num_inputs, network.num_outputs), (network.get_input, network.get_output)
    ):
        there = [get(index) for index in range(count)]
        assert wanted == {
            tensor.name: (types[tensor.dtype.name], ["batch", *list(tensor.shape)[1:]]) for tensor in there
        }


@pytest.mark.parametrize("graph", ["loop", "step"])
def test_a_plan_for_the_tensorrt_backend(
    graph: Any, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for TensorRT: what is written, and that our own runtime takes the plan."""
    api = stand_ins.Cuda()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_ins.tensorrt("10.3", api))
    monkeypatch.setattr(cuda.bindings, "runtime", api, raising=False)
    monkeypatch.setattr(machine, "gpu", lambda: Gpu("Stand-in", "8.7"))
    model = written(
        tiny_checkpoint, tmp_path, graph=graph, backend="tensorrt", name="sudoku", precision="fp32", batch="1:2:4"
    )
    found = parsed(model)
    assert (found.name, found.backend, found.max_batch_size) == ("sudoku", "tensorrt", 4)
    assert (model / "1" / "model.plan.json").is_file()
    plan, onnx = load(model / "1" / "model.plan"), load(model / "1" / "model.plan.onnx", "onnxruntime")
    tokens = puzzles.get("sudoku-4x4").examples()[:3].astype(np.int32)
    ours, theirs = (runtime.solve(tokens, max_steps=6, halt_threshold=0.0) for runtime in (plan, onnx))
    np.testing.assert_array_equal(ours.steps, theirs.steps)
    np.testing.assert_array_equal(ours.answer, theirs.answer)
    # On the device, from the ONNX file beside it, with neither torch nor onnx.
    again = ExportOptions(
        source=model / "1" / "model.plan.onnx", output=model.parent, format="triton", backend="tensorrt"
    )
    (model / "config.pbtxt").unlink()
    assert run_export(again, check=holds) == model / "1" / "model.plan"
    assert parsed(model).max_batch_size == 64


def test_a_failed_export_leaves_nothing(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_artefact, "export_onnx", lambda *_, **__: exported("trm-mlp", "loop"))

    def fails(checkpoint: Any, artefact: Path, name: str, /) -> Checked:
        raise ParityFailure(f"{name}: another answer")

    given = ExportOptions(source=tiny_checkpoint, output=tmp_path / "models", format="triton")
    with pytest.raises(ParityFailure, match=r"models/tiny/1/model\.onnx: another answer"):
        run_export(given, check=fails)
    assert list(tmp_path.iterdir()) == []
    # A plan that cannot be built leaves the ONNX file for the device, and no configuration that a server would load.
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", None)
    with pytest.raises(MissingPackage, match="--format triton --backend tensorrt --name tiny"):
        written(tiny_checkpoint, tmp_path, backend="tensorrt")
    assert not (tmp_path / "models" / "tiny" / "config.pbtxt").exists()


def test_what_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    onnx = tmp_path / "plain.onnx"
    onnx.write_bytes(exported("trm-mlp", "loop").SerializeToString())
    step = tmp_path / "step.onnx"
    step.write_bytes(exported("trm-mlp", "step").SerializeToString())
    there = tmp_path / "models" / "tiny"
    there.mkdir(parents=True)
    (there / "config.pbtxt").write_text("")
    for given, message in (
        ({}, r"models/tiny: holds a model already; name another model with --name, or add --force"),
        ({"source": onnx}, r"plain\.onnx: is an ONNX file, not a checkpoint .*; add --backend tensorrt, or name a"),
        ({"source": onnx, "backend": "tensorrt"}, "takes its step limit and halting threshold as scalars"),
        ({"source": step, "backend": "tensorrt"}, "takes `reset` as a row, which Triton cannot batch"),
        ({"name": "../up"}, "--name is '../up', expected letters"),
        ({"workspace_mib": 5}, "--workspace applies to --backend tensorrt"),
        ({"precision": "bf16"}, "--precision bf16 is not for ONNX Runtime"),
        ({"batch": "1:8:64"}, "expected one number, the largest batch of the server"),
        ({"backend": "python"}, "--backend is 'python', expected one of onnxruntime, tensorrt"),
        ({"bake_limits": True}, "--bake-limits applies to --format onnx, not to --format triton"),
        ({"format": "onnx", "name": "n"}, "--name applies to --format triton, not to --format onnx"),
        ({"output": onnx}, r"plain\.onnx: is a file, expected a folder"),
    ):
        options: dict[str, Any] = {
            "source": tiny_checkpoint,
            "output": tmp_path / "models",
            "format": "triton",
            **given,
        }
        with pytest.raises(InputError, match=message):
            run_export(ExportOptions(**options), check=holds)


def test_labels_of_a_task_without_a_name() -> None:
    spec = tiny_spec("trm-mlp")
    assert labels(spec).splitlines()[0] == "row 1 column 1: pad"
    nameless = dataclasses.replace(spec, task=dataclasses.replace(spec.task, name=""))
    assert labels(nameless).splitlines()[7] == "cell 2: ."
