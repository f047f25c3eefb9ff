"""`trm-deploy export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trm_deploy.cli.options import (
    Format,
    GraphForm,
    Precision,
    Settings,
)


def export(
    source: Annotated[Path, typer.Argument(help="A checkpoint; for trt and rtx also an ONNX file that export made.")],
    format: Annotated[Format, typer.Option("--format", help="What to make.")] = Format.onnx,
    graph: Annotated[
        Optional[GraphForm], typer.Option("--graph", help="The form of the graph.  [default: loop]")
    ] = None,
    steps: Annotated[Optional[int], typer.Option("--steps", help="Supervision steps of the unrolled form.")] = None,
    precision: Annotated[
        Optional[Precision],
        typer.Option("--precision", help="Of weights and activations.  [default: fp32 for onnx, else fp16]"),
    ] = None,
    opset: Annotated[Optional[int], typer.Option("--opset", help="ONNX opset, 18 to 20.  [default: 20]")] = None,
    unroll_inner: Annotated[bool, typer.Option("--unroll-inner", help="Write the inner recursions out.")] = False,
    target: Annotated[
        Optional[str], typer.Option("--target", help="The device, such as jetson-orin-nano: checks what it can read.")
    ] = None,
    batch: Annotated[
        Optional[str], typer.Option("--batch", help="Engine's batch sizes MIN:OPT:MAX.  [default: the target's]")
    ] = None,
    workspace: Annotated[
        Optional[int], typer.Option("--workspace", min=1, help="Builder's device memory, MiB.")
    ] = None,
    opt_level: Annotated[Optional[int], typer.Option("--opt-level", min=0, max=5, help="Builder's effort.")] = None,
    timing_cache: Annotated[Optional[Path], typer.Option("--timing-cache", help="File with tactic timings.")] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Plan for newer TensorRT too.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Plan for other GPUs from Ampere on too.")
    ] = False,
    max_aux_streams: Annotated[Optional[int], typer.Option("--max-aux-streams", min=0, help="CUDA streams.")] = None,
    compute_capability: Annotated[
        Optional[str],
        typer.Option("--compute-capability", help="GPUs to build for ahead of time, as in 8.6,8.9 (rtx)."),
    ] = None,
    calibrate: Annotated[
        Optional[Path],
        typer.Option("--calibrate", help="Puzzles for an int8 engine's scales, in place of the package's."),
    ] = None,
    settings: Settings = None,
    identifiers: Annotated[
        Optional[Path],
        typer.Option("--identifiers", help="Names of the puzzle ids, JSON.  [default: identifiers.json beside it]"),
    ] = None,
    output: Annotated[Optional[Path], typer.Option("-o", "--output", help="The file to write.")] = None,
) -> None:
    """Export to ONNX or on to an engine, with halting inside the graph, and check parity with PyTorch."""
    from trm_deploy.export.engine.build import BuilderOptions
    from trm_deploy.export.pipeline import ExportRequest, fulfil

    request = ExportRequest(
        source=source,
        format=format.value,
        graph=graph.value if graph else None,
        steps=steps,
        precision=precision.value if precision else None,
        opset=opset,
        unroll_inner=unroll_inner,
        target=target,
        batch=batch,
        options=BuilderOptions(
            workspace_mib=workspace,
            opt_level=opt_level,
            timing_cache=timing_cache,
            version_compatible=version_compatible,
            hardware_compatible=hardware_compatible,
            max_aux_streams=max_aux_streams,
        ),
        compute_capability=compute_capability,
        settings=tuple(settings or ()),
        identifiers=identifiers,
        calibrate=calibrate,
        output=output,
    )

    def verify(loaded: Any, engine: Path, name: str) -> Any:
        from trm_deploy.evaluation import parity as parities

        report = parities.verify_export(loaded, engine, name)
        print(report.table(), file=sys.stderr)
        return report

    fulfil(request, verify=verify)
