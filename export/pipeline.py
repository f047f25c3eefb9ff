"""What `export` is asked for, put together from flags, target and defaults; and the way from source to artefact."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from trm_deploy.artefacts import onnx_file
from trm_deploy.artefacts.kind import is_checkpoint
from trm_deploy.errors import InputError, require
from trm_deploy.export.engine.build import BatchProfile, BuilderOptions, BuildSettings, build_engine
from trm_deploy.export.engine.targets import Target, target, this_machine
from trm_deploy.signature import Precision
from trm_deploy.support import machine
from trm_deploy.trt.flavours import FLAVOURS

if TYPE_CHECKING:
    from trm_deploy.checkpoints import Checkpoint
    from trm_deploy.export.onnx_artefact import ParityResult

DEFAULT_BATCH = "1:8:64"
# Three generations of RTX cards, for where there is neither a GPU to ask nor a flag.
RTX_CAPABILITIES = ("8.6", "8.9", "12.0")
OPSET = 20

# What TensorRT for RTX does not take: it compiles its kernels where it runs.
TRT_FLAGS = ("--timing-cache", "--version-compatible", "--hardware-compatible")
# What an ONNX file has decided already.
CHECKPOINT_FLAGS = {
    "graph": "--graph",
    "steps": "--steps",
    "precision": "--precision",
    "opset": "--opset",
    "unroll_inner": "--unroll-inner",
    "settings": "--set",
    "calibrate": "--calibrate",
    "identifiers": "--identifiers",
}


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """The flags of `trm-deploy export`; None or False: not given."""

    source: Path
    format: str = "onnx"
    graph: str | None = None
    steps: int | None = None
    precision: str | None = None
    opset: int | None = None
    unroll_inner: bool = False
    target: str | None = None
    batch: str | None = None
    options: BuilderOptions = field(default_factory=BuilderOptions)
    compute_capability: str | None = None
    settings: tuple[str, ...] = ()
    identifiers: Path | None = None
    calibrate: Path | None = None
    output: Path | None = None

    @property
    def from_onnx(self) -> bool:
        """Whether the source is an ONNX file rather than a checkpoint."""
        return self.source.suffix == ".onnx" and not is_checkpoint(self.source)

    def check(self) -> None:
        """Refuse flags that would do nothing.

        Raises:
            InputError: naming the flag.
        """
        if self.precision != "int8" or self.format == "onnx":
            _refuse(
                {"--calibrate": self.calibrate},
                "goes with --format trt or rtx and --precision int8: an int8 ONNX file for CPUs has no static scales",
            )
        if self.format == "onnx":
            if self.from_onnx:
                raise InputError(
                    f"{self.source}: is an ONNX file already", hint="add --format trt or rtx, or name a checkpoint"
                )
            engine = {"--batch": self.batch, "--compute-capability": self.compute_capability}
            _refuse(
                {**engine, **self.options.given()},
                f"goes with --format {' or '.join(FLAVOURS)}, not with --format onnx",
            )
            return
        if self.format == "rtx":
            given = {flag: value for flag, value in self.options.given().items() if flag in TRT_FLAGS}
            _refuse(given, "goes with --format trt: TensorRT for RTX has no use for it")
        if self.format == "trt":
            _refuse(
                {"--compute-capability": self.compute_capability},
                "goes with --format rtx: TensorRT builds for the GPU of the machine it runs on",
            )
        if self.from_onnx:
            graph = {flag: getattr(self, name) or None for name, flag in CHECKPOINT_FLAGS.items()}
            _refuse(graph, f"goes with a checkpoint: {self.source} is an ONNX file, which has its graph already")

    def device(self) -> Target | None:
        """The target that is named; else, where an engine is built on this machine, this machine if it is known."""
        if self.target is not None:
            return target(self.target)
        return this_machine() if self.format == "trt" else None

    def artefact(self) -> Path:
        """The file to write: -o, else the source's stem in the current folder."""
        if self.output is not None:
            return self.output
        # "." and ".." have no name of their own.
        source = self.source.resolve() if self.source.name in ("", "..") else self.source
        stem = source.stem.removesuffix(".plan") if self.from_onnx else source.stem
        return Path(f"{stem}.{'onnx' if self.format == 'onnx' else 'plan'}")

    def build_settings(self, device: Target | None) -> BuildSettings:
        """How to build the engine, for a device.

        Raises:
            InputError: a malformed profile, or a device that the format does not serve.
        """
        capabilities = tuple(part.strip() for part in (self.compute_capability or "").split(",") if part.strip())
        if self.format == "rtx" and device is not None:
            if not device.rtx:
                raise InputError(
                    f"--target {self.target} is not served by TensorRT for RTX", hint="use --format trt on the device"
                )
            capabilities = capabilities or (device.compute_capability,)
        if self.format == "rtx" and not capabilities:
            gpu = machine.gpu()
            capabilities = (gpu.compute_capability,) if gpu else RTX_CAPABILITIES
            print(f"building for compute capability {', '.join(capabilities)}", file=sys.stderr)
        options = self.options
        # A workspace is TensorRT's; TensorRT for RTX picks no tactics by time.
        if device is not None and self.format == "trt" and options.workspace_mib is None:
            options = replace(options, workspace_mib=device.workspace_mib)
        return BuildSettings(
            format=self.format,
            batch=BatchProfile.parse(self.batch or (device.batch if device else DEFAULT_BATCH)),
            options=options,
            compute_capabilities=capabilities,
        )


def _refuse(flags: dict[str, Any], reason: str) -> None:
    """Raises `InputError` for the first flag that is given."""
    for flag, value in flags.items():
        if value is not None and value is not False:
            raise InputError(f"{flag} {reason}", hint=f"leave out {flag}")


Verify = Callable[["Checkpoint", Path, str], "ParityResult"]


def fulfil(request: ExportRequest, *, verify: Verify) -> None:
    """Do what is asked for; messages go to stderr.

    Args:
        request: the flags.
        verify: compares with a checkpoint an artefact, which is to be called by a name.

    Raises:
        TrmDeployError: see `export_checkpoint` and `build_engine`.
    """
    request.check()
    device = request.device()
    output = request.artefact()
    if request.format == "onnx":
        _export_onnx(request, output, device, verify)
        if device is not None:
            device.check(onnx_file.read(output), output)
        return
    settings = request.build_settings(device)
    loaded: Checkpoint | None = None
    if request.from_onnx:
        onnx = request.source
        described = onnx_file.read(onnx)
        if described.graph == "step" and "Loop" in described.operators:
            print(
                f"note: the recursion inside {onnx} is a loop, which a CUDA graph cannot hold;"
                " export it with --graph step --unroll-inner where each step's latency matters",
                file=sys.stderr,
            )
    else:
        onnx = output.with_name(output.name + ".onnx")
        loaded = _export_onnx(request, onnx, device, verify)

    check = None if loaded is None else partial(_parity, loaded, verify, output.name)
    built = build_engine(onnx, output, settings, target=device, check=check)
    print(
        f"wrote {output} and {output.name}.json: {built.graph} engine, {built.precision}, batch {built.batch}",
        file=sys.stderr,
    )
    if not built.parity:
        checkpoint = request.source if loaded else "CHECKPOINT"
        print(
            f"parity of the engine is not checked yet; type on the device: trm-deploy parity {checkpoint} {output}",
            file=sys.stderr,
        )


def _parity(loaded: Checkpoint, verify: Verify, name: str, plan: Path) -> dict[str, Any]:
    """The summary of a comparison that must not fail."""
    result = verify(loaded, plan, name)
    result.raise_if_failed()
    return result.summary()


def _export_onnx(request: ExportRequest, output: Path, device: Target | None, verify: Verify) -> Checkpoint:
    for module in ("torch", "onnx", "onnxscript", "onnxruntime"):
        require(module, extra="export", purpose="to export from a checkpoint")
    from trm_deploy.export.onnx_artefact import ExportSettings, export_checkpoint

    settings = ExportSettings(
        graph=cast(Literal["loop", "step", "unrolled"], request.graph or "loop"),
        steps=request.steps,
        precision=cast(Precision, request.precision or ("fp32" if request.format == "onnx" else "fp16")),
        opset=(min(OPSET, device.opset) if device else OPSET) if request.opset is None else request.opset,
        # A loop cannot be captured as a CUDA graph, and capturing is what an engine of the step form is for.
        unroll_inner=request.unroll_inner or (request.format != "onnx" and request.graph == "step"),
        static_scales=request.precision == "int8" and request.format != "onnx",
        calibrate=request.calibrate,
    )
    print(f"exporting {request.source} as a {settings.graph} graph, {settings.precision} ...", file=sys.stderr)
    loaded = export_checkpoint(
        request.source, output, settings, told=request.settings, identifiers_file=request.identifiers, verify=verify
    )
    print(f"wrote {output} and {output.name}.json", file=sys.stderr)
    return loaded
