"""What can be told from the options alone is told before anything is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.conftest import exported
from trm_deploy.errors import InputError
from trm_deploy.export.formats import FORMATS, GRAPH_OPTIONS
from trm_deploy.export.options import ExportOptions, options_of


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """In the place of a checkpoint: nothing here may read it."""
    path = tmp_path / "ckpt.pt"
    path.write_bytes(b"never read")
    return path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "tflite"}, "--format is 'tflite', expected one of onnx, trt, rtx"),
        ({"graph": "scan"}, "--graph is 'scan', expected one of loop, step, unrolled"),
        ({"precision": "fp8"}, "--precision is 'fp8', expected one of fp32"),
        ({"steps": 0, "graph": "unrolled"}, "--steps is 0, expected 1 to"),
        ({"steps": 4, "graph": "loop"}, "--steps applies to --graph unrolled, not to --graph loop"),
        ({"steps": 4}, "--steps applies to --graph unrolled, not to --graph loop"),
        ({"opset": 21}, "--opset is 21, expected 18 to 20"),
        ({"opset": 0}, "--opset is 0, expected 18 to 20"),
        ({"batch": "1:8:64"}, "--batch is 1:8:64, expected one number: an ONNX file has one batch size, or takes any"),
        ({"batch": "0"}, "expected 1 <= MIN <= OPT <= MAX"),
        ({"batch": "-1"}, "--batch is '-1', expected MIN:OPT:MAX"),
        ({"batch": "99999999"}, "--batch is 99999999, expected 1 to 65536"),
        ({"format": "trt", "bake_limits": True}, "--bake-limits applies to --format onnx, not to --format trt"),
        ({"graph": "step", "bake_limits": True}, "--bake-limits applies to --graph loop and unrolled: a step has no"),
        ({"format": "trt", "batch": "8:4:1"}, "expected 1 <= MIN <= OPT <= MAX"),
        ({"format": "rtx", "compute_capability": "abc"}, "--compute-capability is 'abc', expected numbers such as"),
        ({"format": "rtx", "compute_capability": "8.6,abc"}, "--compute-capability is '8.6,abc'"),
        ({"format": "trt", "compute_capability": "8.6"}, "--compute-capability applies to --format rtx, not"),
        ({"format": "rtx", "timing_cache": Path("t")}, "--timing-cache applies to --format trt, not to --format rtx"),
        ({"format": "rtx", "version_compatible": True}, "--version-compatible applies to --format trt"),
        ({"workspace_mib": 5}, "--workspace applies to --format trt or rtx"),
        ({"format": "trt", "workspace_mib": 0}, "--workspace is 0, expected at least 1"),
        ({"format": "trt", "opt_level": 6}, "--opt-level is 6, expected 0 to 5"),
        ({"format": "trt", "calibrate": Path("p.txt")}, "--calibrate applies to --precision int8"),
        ({"precision": "int8", "calibrate": Path("p.txt")}, "--calibrate applies to --format trt or rtx, and with"),
        (
            {"precision": "int8", "format": "triton", "calibrate": Path("p.txt")},
            "--calibrate applies to --backend tensorrt",
        ),
        ({"static_scales": True}, "--static-scales applies to --precision int8"),
        ({"precision": "int8", "format": "trt", "static_scales": True}, "--static-scales applies to --format onnx"),
        ({"identifiers": Path("none.json")}, "none.json: there is no such file"),
        ({"target": "toaster"}, "--target is 'toaster', expected one of jetson-orin-nano"),
        ({"format": "rtx", "target": "jetson-thor"}, "is not served by TensorRT for RTX"),
        ({"output": Path("/proc/x.onnx")}, r"x\.onnx: cannot be written"),
        ({"format": "trt", "timing_cache": Path("/")}, "/: is a folder"),
    ],
)
def test_bad_values(given: dict[str, Any], message: str, source: Path) -> None:
    with pytest.raises(InputError, match=message) as raised:
        ExportOptions(source=source, **given).check()
    assert raised.value.exit_code == 2


def test_the_source_is_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pt: there is no such file"):
        ExportOptions(source=tmp_path / "none.pt").check()
    with pytest.raises(InputError, match="is an ONNX file already"):
        ExportOptions(source=tmp_path / "a.onnx").check()
    with pytest.raises(InputError, match=r"--graph applies to a checkpoint: .* which has its graph already"):
        ExportOptions(source=tmp_path / "a.onnx", format="rtx", graph="step").check()


@pytest.mark.parametrize("link", ["itself", "hard", "symbolic"])
def test_a_checkpoint_is_never_its_own_output(link: str, source: Path, tmp_path: Path) -> None:
    output = source
    if link != "itself":
        output = tmp_path / "out.onnx"
        os.link(source, output) if link == "hard" else output.symlink_to(source)
    for force in (False, True):
        for options in (
            ExportOptions(source=source, output=output, force=force),
            ExportOptions(source=source, output=output, format="trt", force=force),
        ):
            with pytest.raises(InputError, match="is the same file as the input"):
                options.check()
    assert source.read_bytes() == b"never read"


def test_the_onnx_file_on_the_way_to_an_engine_replaces_no_input_either(tmp_path: Path) -> None:
    source = tmp_path / "a.plan.onnx.pt"
    source.write_bytes(b"never read")
    (tmp_path / "a.plan.onnx").symlink_to(source)
    with pytest.raises(InputError, match=r"a\.plan\.onnx: is the same file as the input"):
        ExportOptions(source=source, output=tmp_path / "a.plan", format="trt").check()


def test_an_output_of_another_kind_is_refused_unless_forced(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"

    def check(**given: Any) -> None:
        ExportOptions(source=source, output=output, **given).check()

    output.write_text("my notes")
    with pytest.raises(InputError, match=r"out\.onnx: exists already and is not an ONNX file that export made; name"):
        check()
    check(force=True)
    output.write_bytes(b"vtrt and more")
    with pytest.raises(InputError, match="is not an ONNX file that export made"):
        check()
    with pytest.raises(InputError, match="is not a TensorRT plan that export made"):
        check(format="trt")
    check(format="rtx")
    onnx.save(exported("trm-mlp", "step"), output)
    check()  # an export again
    with pytest.raises(InputError, match="is not a TensorRT for RTX plan that export made"):
        check(format="rtx")
    foreign = onnx.ModelProto()
    foreign.CopyFrom(exported("trm-mlp", "step"))
    del foreign.metadata_props[:]
    onnx.save(foreign, output)
    with pytest.raises(InputError, match="is not an ONNX file that export made"):
        check()


def test_names_of_outputs() -> None:
    def names(**given: Any) -> tuple[str, str]:
        options = ExportOptions(**given)
        return str(options.artefact()), str(options.onnx())

    assert names(source=Path("runs/ema.pt")) == ("ema.onnx", "ema.onnx")
    assert names(source=Path("runs/ema.pt"), format="trt") == ("ema.plan", "ema.plan.onnx")
    assert names(source=Path("x/a.plan.onnx"), format="trt") == ("a.plan", "x/a.plan.onnx")
    assert names(source=Path("a.pt"), format="rtx", output=Path("b/c")) == ("b/c", "b/c.onnx")


def test_defaults_follow_the_format_and_the_target() -> None:
    options = ExportOptions(source=Path("a.pt"), format="trt", target="jetson-orin-nano", opt_level=3)
    assert (options.graph_precision(), options.graph_opset()) == ("fp16", 20)
    engine = options.engine()
    assert (str(engine.batch), engine.builder.workspace_mib, engine.builder.opt_level) == ("1:1:16", 512, 3)
    assert ExportOptions(source=Path("a.pt")).graph_precision() == "fp32"
    rtx = ExportOptions(source=Path("a.pt"), format="rtx", target="rtx-4090", workspace_mib=7).engine()
    assert (rtx.compute_capabilities, rtx.builder.workspace_mib) == (("8.9",), 7)
    given = ExportOptions(source=Path("a.pt"), format="rtx", compute_capability="8.6, 12.0", batch="4").engine()
    assert (given.compute_capabilities, str(given.batch)) == (("8.6", "12.0"), "4:4:4")


def test_every_option_of_a_format_is_a_field() -> None:
    known = set(ExportOptions.__dataclass_fields__)
    assert {name for entry in FORMATS.values() for name in entry.options} | set(GRAPH_OPTIONS) <= known


def test_an_unknown_option_is_refused(source: Path) -> None:
    assert options_of(source=source, graph="step").graph == "step"
    with pytest.raises(InputError, match="export has no option 'grpah', expected one of"):
        options_of(source=source, grpah="step")


def test_checking_needs_no_heavy_package(source: Path) -> None:
    output = source.parent / "out.plan"
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'onnxruntime', 'tensorrt_rtx'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from trm_deploy.export import pipeline\n"
        "from trm_deploy.export.options import ExportOptions\n"
        f"ExportOptions(source=Path({str(source)!r}), output=Path({str(output)!r}), format='rtx').check()\n"
        "print('checked')\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "checked\n"
