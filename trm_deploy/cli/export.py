"""`trm-deploy export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import Force, Overrides
from trm_deploy.cli.values import matching, one_of, whole
from trm_deploy.export.formats import (
    BATCH,
    DEFAULT_FORMAT,
    DEFAULT_GRAPH,
    FORMATS,
    OPSET,
    OPSETS,
    REPOSITORY,
    TRITON_BACKENDS,
)
from trm_deploy.signature import GRAPHS, PRECISIONS, Graph, Precision
from trm_deploy.spec import MAX_STEPS

DEFAULT_PRECISIONS = ", ".join(f"{entry.precision} for {name}" for name, entry in FORMATS.items())


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A checkpoint; with --format trt or rtx also an ONNX file made by this command."
        ),
    ],
    format: Annotated[str, typer.Option("--format", **one_of(tuple(FORMATS)), help="Output format.")] = DEFAULT_FORMAT,
    graph: Annotated[
        Optional[Graph],
        typer.Option("--graph", **one_of(GRAPHS), help="Graph form to export.", show_default=DEFAULT_GRAPH),
    ] = None,
    steps: Annotated[
        Optional[int],
        typer.Option("--steps", **whole(1, MAX_STEPS), help="Number of supervision steps of the unrolled form."),
    ] = None,
    precision: Annotated[
        Optional[Precision],
        typer.Option(
            "--precision",
            **one_of(PRECISIONS),
            help="Precision of weights and activations.",
            show_default=DEFAULT_PRECISIONS,
        ),
    ] = None,
    opset: Annotated[
        Optional[int],
        typer.Option(
            "--opset",
            **whole(OPSETS[0], OPSETS[-1]),
            help=f"ONNX opset version, {OPSETS[0]} to {OPSETS[-1]}.",
            show_default=f"{OPSET}, or the target's",
        ),
    ] = None,
    unroll_inner: Annotated[
        bool,
        typer.Option("--unroll-inner", help="Unroll the inner recursion loops: a larger graph without nested loops."),
    ] = False,
    target: Annotated[
        Optional[str],
        typer.Option(
            "--target",
            metavar="DEVICE",
            help="Device the file is for, such as jetson-orin-nano; checks what its TensorRT can read.",
        ),
    ] = None,
    batch: Annotated[
        Optional[str],
        typer.Option(
            "--batch",
            metavar="MIN:OPT:MAX",
            help="Smallest, typical and largest batch size of the engine; N: that size only, also of an ONNX file. For"
            " triton with ONNX Runtime: the server's largest batch.",
            show_default=f"the target's, else {BATCH}; an ONNX file takes any",
        ),
    ] = None,
    bake_limits: Annotated[
        bool,
        typer.Option(
            "--bake-limits",
            help="Make the checkpoint's step limit and halting threshold constants of the graph, for consumers without"
            " scalar inputs (onnx only).",
        ),
    ] = False,
    workspace: Annotated[
        Optional[int],
        typer.Option("--workspace", **whole(1), help="Device memory for the TensorRT builder, in MiB."),
    ] = None,
    opt_level: Annotated[
        Optional[int],
        typer.Option("--opt-level", **whole(0, 5), help="TensorRT builder optimization level, 0 to 5."),
    ] = None,
    timing_cache: Annotated[
        Optional[Path],
        typer.Option(
            "--timing-cache", metavar="FILE", help="TensorRT timing cache: read if it exists, written after the build."
        ),
    ] = None,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Build a plan that newer TensorRT versions also load."),
    ] = False,
    hardware_compatible: Annotated[
        bool,
        typer.Option("--hardware-compatible", help="Build a plan that also runs on other GPUs, Ampere and newer."),
    ] = False,
    max_aux_streams: Annotated[
        Optional[int],
        typer.Option("--max-aux-streams", **whole(0), help="Maximum number of auxiliary CUDA streams."),
    ] = None,
    compute_capability: Annotated[
        Optional[str],
        typer.Option(
            "--compute-capability",
            **matching(r"\d+\.\d(,\d+\.\d)*", "a list of compute capabilities such as 8.6,8.9", "X.Y[,X.Y]"),
            help="GPUs to build for ahead of time, by CUDA compute capability (rtx only).",
        ),
    ] = None,
    calibrate: Annotated[
        Optional[Path],
        typer.Option(
            "--calibrate",
            metavar="FILE",
            help="Puzzles to calibrate the static scales of int8 on.",
            show_default="the puzzles shipped with the package",
        ),
    ] = None,
    static_scales: Annotated[
        bool,
        typer.Option(
            "--static-scales",
            help="Calibrated scales for int8, as OpenVINO computes it, rather than one for each row (onnx only).",
        ),
    ] = False,
    overrides: Overrides = None,
    identifiers: Annotated[
        Optional[Path],
        typer.Option(
            "--identifiers",
            metavar="FILE",
            help="JSON file that names the puzzle ids.",
            show_default="identifiers.json beside the checkpoint",
        ),
    ] = None,
    backend: Annotated[
        Optional[str],
        typer.Option(
            "--backend",
            **one_of(tuple(TRITON_BACKENDS)),
            help="What runs the model in a Triton server (triton only).",
            show_default=next(iter(TRITON_BACKENDS)),
        ),
    ] = None,
    name: Annotated[
        Optional[str],
        typer.Option(
            "--name",
            metavar="NAME",
            help="Name of the model in a Triton repository.",
            show_default="the source's, with -step behind it in the step form",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="File to write; for triton the model repository.",
            show_default=f"the source's name, in this folder; for triton {REPOSITORY}",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Export a model to ONNX or a TensorRT engine, halting included, and check parity with PyTorch."""
    from trm_deploy import api

    api.export_model(
        source,
        output,
        format=format,
        graph=graph,
        steps=steps,
        precision=precision,
        opset=opset,
        unroll_inner=unroll_inner,
        target=target,
        batch=batch,
        bake_limits=bake_limits,
        workspace_mib=workspace,
        opt_level=opt_level,
        timing_cache=timing_cache,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        max_aux_streams=max_aux_streams,
        compute_capability=compute_capability,
        overrides=overrides or (),
        identifiers=identifiers,
        calibrate=calibrate,
        static_scales=static_scales,
        backend=backend,
        name=name,
        force=force,
    )
