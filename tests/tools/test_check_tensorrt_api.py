"""tools/check_tensorrt_api: what it collects from code, what it finds wrong, and one real release."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tests.conftest import ROOT, load_tool

trt = pytest.importorskip("tensorrt_rtx")


tool = load_tool("check_tensorrt_api")
main = importlib.import_module("check_tensorrt_api.__main__")


def read(text: str) -> Any:
    uses = tool.reading.Uses()
    tool.reading.Reader(trt, uses, "ours.py").read(textwrap.dedent(text))
    return uses


def test_types_follow_from_parameters_results_and_attributes() -> None:
    uses = read(
        """
        class Engine:
            def __init__(self, trt: Any, logger: Any) -> None:
                runtime = flavours.make(trt.Runtime, logger, flavour)
                self._engine = runtime.deserialize_cuda_engine(b"")

            def names(self) -> list[str]:
                return [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]

        def products(trt, network):
            layers = [network.get_layer(index) for index in range(network.num_layers)]
            return sum(layer.type == trt.LayerType.MATRIX_MULTIPLY for layer in layers)

        def errors(parser: Any) -> list[str]:
            return [error.desc() for error in each(parser.num_errors, parser.get_error)]
        """,
    )
    assert {
        "Runtime.__init__",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.get_tensor_name",
        "ICudaEngine.num_io_tensors",
        "INetworkDefinition.num_layers",
        "ILayer.type",
        "LayerType.MATRIX_MULTIPLY",
        "OnnxParser.get_error",
        "ParserError.desc",
    } <= uses.found
    assert (uses.missing, uses.refused) == ({}, [])


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("builder.create_networks(0)", "Builder.create_networks"),
        ("builder.create_network(0).nmae = 'x'", "INetworkDefinition.nmae"),
        ("trt.BuilderFlag.FP61", "BuilderFlag.FP61"),
        ("trt.OnnxReader(builder)", "OnnxReader"),
        ("[item.typo for item in each(network.num_layers, network.get_layer)]", "ILayer.typo"),
        ("(lambda: network.get_input(0).shap)()", "ITensor.shap"),
        ("first = network.get_layer(0) if builder else None; first.typo", "ILayer.typo"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_its_place(code: str, missing: str) -> None:
    uses = read(f"def ours(trt, builder, network):\n    {code}\n")
    assert uses.missing == {missing: "ours.py:2"}


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("builder.create_network(0, 1)", "Builder.create_network is called with 2 arguments"),
        ("builder.create_network(flag=0)", "Builder.create_network is called with 0 arguments flag, expected flags"),
        ("profile.set_shape('x', (1,), (2,))", "IOptimizationProfile.set_shape is called with 3"),
        ("trt.Runtime()", "Runtime.__init__ is called with 0 arguments"),
        ("flavours.make(trt.OnnxParser, logger)", "OnnxParser.__init__ is called with 1"),
    ],
)
def test_a_call_that_no_overload_takes_is_told(code: str, refused: str) -> None:
    uses = read(f"def ours(trt, builder, profile):\n    {code}\n")
    (told,) = uses.refused
    assert told.startswith(f"ours.py:2: {refused}")


def test_a_method_that_tensorrt_calls_has_its_arguments() -> None:
    uses = read(
        """
        def monitor(trt):
            class Monitor(trt.IProgressMonitor):
                def phase_start(self, phase_name, parent_phase): ...
                def step_completed(self, phase_name, step): ...
                def phase_finish(self, phase_name): ...
        """,
    )
    assert uses.missing == {"IProgressMonitor.step_completed": "ours.py:5"}
    assert len(uses.refused) == 1
    assert "IProgressMonitor.phase_start is called with 2" in uses.refused[0]


def test_what_is_asked_for_with_a_default_may_be_missing() -> None:
    uses = read("def ours(context, network):\n    getattr(context, 'is_new', None), getattr(network, 'name', 1)")
    assert uses.optional == {"IExecutionContext.is_new": False, "INetworkDefinition.name": True}
    answers = {"10.3": {"found": [], "refused": [], "missing": {}, "optional": uses.optional}}
    assert main.differences(answers, {}) == [
        "IExecutionContext.is_new is asked for with a default, and no release that was looked at has it"
    ]


def test_what_one_release_lacks_must_be_missing_in_its_double_and_exist_elsewhere() -> None:
    def answer(found: list[str], missing: dict[str, str]) -> dict[str, Any]:
        return {"found": found, "missing": missing, "optional": {}, "refused": []}

    answers = {"10.3": answer([], {"A.new": "ours.py:1"}), "11.4": answer(["A.new"], {})}
    assert main.differences(answers, {"10.3": {"A": {}}}) == []
    (told,) = main.differences(answers, {"10.3": {"A": {"new": None}}})
    assert told == "TensorRT 10.3 has no A.new (ours.py:1 uses it, the double has it)"
    (told,) = main.differences({"10.3": answers["10.3"]}, {"10.3": {"A": {}}})
    assert told.endswith("(ours.py:1 uses it, no release that was looked at has it)")


def test_the_claims_of_a_double_are_looked_up() -> None:
    double = {"": {"Builder": None}, "Builder": {"create_network": 1, "create_plan": 1, "reset": 3}}
    uses = tool.doubles.claims(trt, double, {"Builder": {"create_builder_config": 0}})
    assert uses.missing == {"Builder.create_plan": "the double"}
    assert uses.found >= {"Builder", "Builder.create_network"}
    assert uses.refused == [
        "the double's Builder.reset takes 3 arguments, TensorRT's does not",
        "the double has no Builder.create_builder_config, and TensorRT does",
    ]


def test_the_doubles_themselves() -> None:
    old, new = tool.doubles.doubles("10.3"), tool.doubles.doubles("11")
    assert old["IBuilderConfig"]["set_timing_cache"] == 2
    assert old["ICudaEngine"]["num_io_tensors"] is None
    assert old["BuilderFlag"].keys() - new["BuilderFlag"].keys() == {"FP16", "INT8"}


def test_a_real_release() -> None:
    """The oldest, JetPack 6's."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to make libraries of")
    done = subprocess.run(
        [sys.executable, "-m", "tools.check_tensorrt_api", "10.3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "pip download" in done.stderr:
        pytest.skip(f"pip cannot fetch the bindings: {done.stderr.splitlines()[-1]}")
    assert (done.returncode, done.stderr.strip()) == (0, "")
    first, *_ = done.stdout.splitlines()
    release, _, count = first.removesuffix(" names checked").partition(": ")
    assert release == "TensorRT 10.3"
    assert int(count) > 150
