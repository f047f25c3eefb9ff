"""ONNX to an engine, with TensorRT or TensorRT for RTX. Needs neither torch nor onnx: it runs on a Jetson.

The network is strongly typed: its precision is the graph's, and the builder may not choose another. One code path
serves TensorRT 10.3 to 11 and TensorRT for RTX; what differs between the packages stands in `trm_deploy.trt.flavours`.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trm_deploy.artefacts import embeddings, identifiers, onnx_file, record
from trm_deploy.artefacts.onnx_file import OnnxFile
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError, TrmDeployError
from trm_deploy.export.engine.targets import Target
from trm_deploy.support import machine
from trm_deploy.support.files import refuse_folder, sha256, write_atomic
from trm_deploy.support.machine import Gpu
from trm_deploy.support.progress import Phases
from trm_deploy.trt import flavours
from trm_deploy.trt.flavours import FLAVOURS, Flavour
from trm_deploy.trt.precision import engine_precision

# Of an int8 file for ONNX Runtime (`trm_deploy.export.graph.passes.int8`, which needs the onnx package).
ROW_OPERATOR = "MatMulIntegerToFloat"

# TensorRT keeps a longer network name out, with an error in its log and the old name in place.
NAME_LIMIT = 4095

# Supervision steps that an engine allows where TensorRT wants a bound: more than anyone waits for.
LARGEST_MAX_STEPS = 65536

# Data types that an engine of each precision may have at its matrix products. The halting head is float32 in all.
PRODUCT_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16"}


@dataclass(frozen=True)
class BatchProfile:
    """Batch sizes that an engine takes: smallest, the one it is tuned for, largest."""

    smallest: int
    tuned: int
    largest: int

    @classmethod
    def parse(cls, text: str) -> BatchProfile:
        """Read "MIN:OPT:MAX", or "N" for all three.

        Raises:
            InputError: not three rising numbers of at least 1.
        """
        parts = text.split(":")
        if len(parts) == 1:
            parts = parts * 3
        numbers = [int(part) for part in parts if re.fullmatch(r"\d{1,9}", part)]
        if len(numbers) != 3 or len(parts) != 3:
            raise InputError(f"--batch is {text!r}, expected MIN:OPT:MAX, such as 1:8:64")
        if not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
            raise InputError(f"--batch is {text}, expected 1 <= MIN <= OPT <= MAX", hint="such as --batch 1:8:64")
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.smallest}:{self.tuned}:{self.largest}"


# Field of `BuilderOptions` -> its flag.
BUILDER_FLAGS = {
    "workspace_mib": "--workspace",
    "opt_level": "--opt-level",
    "timing_cache": "--timing-cache",
    "version_compatible": "--version-compatible",
    "hardware_compatible": "--hardware-compatible",
    "max_aux_streams": "--max-aux-streams",
}


@dataclass(frozen=True, kw_only=True)
class BuilderOptions:
    """What is left to TensorRT's builder unless it is given: None or False.

    Attributes:
        workspace_mib: device memory for tactics, in MiB.
        opt_level: builder optimisation level, 0 (fast build) to 5 (fast engine).
        timing_cache: file with tactic timings, read where it exists and written after the build.
        version_compatible: the plan also loads under newer TensorRT; it carries host code.
        hardware_compatible: the plan also runs on other GPUs from Ampere on, more slowly.
        max_aux_streams: CUDA streams beside the main one.
    """

    workspace_mib: int | None = None
    opt_level: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    max_aux_streams: int | None = None

    def given(self) -> dict[str, Any]:
        """Flag -> value of those that are given."""
        values = {flag: getattr(self, name) for name, flag in BUILDER_FLAGS.items()}
        return {flag: value for flag, value in values.items() if value is not None and value is not False}


@dataclass(frozen=True)
class BuildSettings:
    """How an engine is built.

    Attributes:
        format: key of `FLAVOURS`.
        batch: the optimisation profile.
        options: for the builder.
        compute_capabilities: GPUs to build for ahead of time, such as "8.6"; TensorRT for RTX can, TensorRT cannot.
    """

    format: str
    batch: BatchProfile
    options: BuilderOptions = field(default_factory=BuilderOptions)
    compute_capabilities: tuple[str, ...] = ()

    @property
    def flavour(self) -> Flavour:
        """The package that builds."""
        return FLAVOURS[self.format]


def build_engine(
    source: Path,
    output: Path,
    settings: BuildSettings,
    *,
    target: Target | None = None,
    check: Callable[[Path], dict[str, Any]] | None = None,
) -> record.BuildRecord:
    """Build the engine of an ONNX file that `export` made, and write it with its record beside it.

    Args:
        source: the ONNX file.
        output: the plan to write.
        settings: how.
        target: the device that it is for; checked before the build.
        check: looks at the finished plan, before it gets its name, and returns its parity for the record.

    Raises:
        ArtefactError: the ONNX file cannot be read or is not ours, or TensorRT cannot parse it.
        CannotRunHere: the package is missing, there is no GPU to build on, or the target cannot take the graph.
        InputError: the output is a folder, or the timing cache cannot be read.
        TrmDeployError: the build failed, or its precision is not the graph's.
    """
    described = onnx_file.read(source)
    if ROW_OPERATOR in described.operators:
        raise CannotRunHere(
            f"{source}: its int8 products have a scale a row, for CPUs, and TensorRT knows only static ones",
            hint=f"type: trm-deploy export CHECKPOINT --format {settings.format} --precision int8",
        )
    if target is not None:
        target.check(described, source)
    refuse_folder(output)
    flavour = settings.flavour
    embeddings.open_table(source, described.spec)  # a missing one is not worth a build
    elsewhere = command(source, output, settings)
    gpu = machine.gpu()
    if target is not None and gpu is not None and not flavour.ahead_of_time:
        target.check_gpu(gpu, hint=f"type there: {elsewhere}")
    trt = flavours.load(flavour, purpose=f"to build {output}", otherwise=f"or type on the device: {elsewhere}")
    logger = flavours.make_logger(trt)
    builder = flavours.make(trt.Builder, logger, flavour, help=f"type on the device: {elsewhere}")
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, network, logger, source)
    _name(network, described, source)
    _check_types(trt, network, described, source)
    config = _configure(trt, builder, network, settings, described.spec.halting.max_steps)
    _load_timing_cache(config, settings.options.timing_cache)
    with Phases(f"building {output.name}") as phases:
        config.progress_monitor = monitor = _monitor(trt, phases)
        plan = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        reason = "; ".join(logger.errors[-2:]) or "it gives no reason"
        raise TrmDeployError(
            f"{source}: {flavour.title} cannot build an engine from it ({reason[:400]})",
            hint="type trm-deploy --debug export ... for its whole log, or try --graph step",
        )
    built = replace(
        _record(source, described, settings, gpu, {flavour.module: trt.__version__}),
        command=elsewhere,
        artefact_sha256=hashlib.sha256(plan).hexdigest(),
    )
    if gpu is not None and gpu.compute_capability in built.compute_capabilities:
        # Only a GPU that can run the engine can tell what it is.
        built = replace(built, precision_source=_inspect(trt, logger, plan, described, settings))
        if check is not None:
            built = replace(built, parity=_checked(plan, built, source, output.name, check))
    # With the plan travels what lies beside its ONNX file.
    built = replace(built, puzzle_embeddings=embeddings.carry(source, output, described.spec))
    identifiers.write(output, identifiers.read(source))
    record.path_of(output).unlink(missing_ok=True)  # an interruption here must not leave an older one beside the plan
    write_atomic(output, bytes(plan))
    record.write(output, built)
    if settings.options.timing_cache is not None:
        write_atomic(settings.options.timing_cache, bytes(config.get_timing_cache().serialize()))
    return built


def command(source: Path, output: Path, settings: BuildSettings) -> str:
    """What to type in the folder of both files to build the engine there."""
    words = ["trm-deploy", "export", source.name, "--format", settings.format, "--batch", str(settings.batch)]
    for flag, value in settings.options.given().items():
        if flag != "--timing-cache":  # a file of this machine
            words += [flag] if value is True else [flag, str(value)]
    if settings.compute_capabilities:
        words += ["--compute-capability", ",".join(settings.compute_capabilities)]
    return shlex.join([*words, "-o", output.name])


def _checked(
    plan: Any, built: record.BuildRecord, source: Path, name: str, check: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """What `check` says of the plan, before it stands under its own name."""
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder, name)
        write_atomic(staged, bytes(plan))
        record.write(staged, built)
        with embeddings.lent(staged, embeddings.path_of(source)):
            return check(staged)


def _record(
    source: Path, described: OnnxFile, settings: BuildSettings, gpu: Gpu | None, versions: dict[str, str]
) -> record.BuildRecord:
    """What is known of an engine before it is built; its ONNX file's own record goes over into it."""
    before = record.read_matching(source)
    capabilities = settings.compute_capabilities or ((gpu.compute_capability,) if gpu else ())
    return record.BuildRecord(
        format=settings.format,
        graph=described.graph,
        steps=described.steps,
        precision=described.precision,
        precision_source="network",
        checkpoint_sha256=before.checkpoint_sha256 if before else "",
        onnx_sha256=sha256(source),
        artefact_sha256="",
        opset=described.opset,
        ir_version=described.ir_version,
        versions={**(before.versions if before else {}), **versions},
        halting_threshold=before.halting_threshold if before else described.spec.halting.threshold,
        batch=str(settings.batch),
        platform=machine.platform_tag(),
        device=gpu.name if gpu and gpu.compute_capability in capabilities else "",
        compute_capabilities=capabilities,
        version_compatible=settings.options.version_compatible,
        hardware_compatible=settings.options.hardware_compatible,
    )


def _parse(trt: Any, network: Any, logger: Any, source: Path) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(source.read_bytes()):
        return
    reasons = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        # TensorRT 10.3 knows the node's number only, later ones its name and operator.
        name, operator = getattr(error, "node_name", None), getattr(error, "node_operator", None)
        node = f"node {name() or error.node()} ({operator()})" if name and operator else f"node {error.node()}"
        reasons.append(f"{node}: {' '.join(error.desc().split())}")
    reason = "; ".join(reasons[:2]) or (logger.errors[-1] if logger.errors else "it gives no reason")
    raise ArtefactError(
        f"{source}: TensorRT {trt.__version__} cannot parse it at {reason[:400]}",
        hint="export again from the checkpoint with this trm-deploy, or with a lower --opset",
    )


def _name(network: Any, described: OnnxFile, source: Path) -> None:
    """The spec travels as the network's name, read back because TensorRT drops one that is too long."""
    name = described.spec.to_json()
    network.name = name
    if network.name != name:
        raise TrmDeployError(
            f"{source}: the model spec has {len(name.encode())} bytes, which do not fit into the engine's name"
            f" (at most {NAME_LIMIT}): the vocabulary is too long"
        )


def _check_types(trt: Any, network: Any, described: OnnxFile, source: Path) -> None:
    """A strongly typed network computes in the types that it declares: they must be what the file says."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.dtype == trt.int64:
            raise TrmDeployError(f"{source}: the input {tensor.name} is int64, expected int32 throughout")
    for index in range(network.num_outputs):
        tensor = network.get_output(index)
        if any(size < 0 for size in list(tensor.shape)[1:]):
            # The runtime sizes its buffers by the batch alone.
            raise TrmDeployError(
                f"{source}: TensorRT sees the output {tensor.name} as {list(tensor.shape)}, expected no free size but"
                " the batch"
            )
    if described.precision == "int8":
        _check_int8(trt, network, source)
        return
    kinds = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.MATRIX_MULTIPLY:
            kinds.append(layer.get_input(0).dtype.name)
    wanted = PRODUCT_TYPES[described.precision]
    others = [kind for kind in kinds if kind != wanted]
    # The halting head is float32 in every precision: once, or once a step where steps are written out.
    if not kinds or set(others) - {"FLOAT"} or len(others) > (described.steps or 1):
        raise TrmDeployError(
            f"{source}: says {described.precision}, but {len(others)} of its {len(kinds)} matrix products are"
            f" {', '.join(sorted(set(others))) or 'missing'}",
            hint=f"export again with --precision {described.precision}",
        )


def _check_int8(trt: Any, network: Any, source: Path) -> None:
    """An int8 graph's quantised products must have reached the network: a weight and an activation each."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    products = sum(layer.type == trt.LayerType.MATRIX_MULTIPLY for layer in layers)
    restored = sum(layer.type == trt.LayerType.DEQUANTIZE for layer in layers)
    if not products or restored < 2 or restored % 2:
        raise TrmDeployError(
            f"{source}: says int8, but TensorRT sees {restored} dequantised inputs of {products} matrix products",
            hint="export again with --precision int8",
        )


def _configure(trt: Any, builder: Any, network: Any, settings: BuildSettings, max_steps: int) -> Any:
    config = builder.create_builder_config()
    options = settings.options
    # On by default, and no float32: it keeps ten bits of the mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.opt_level is not None:
        config.builder_optimization_level = options.opt_level
    if options.max_aux_streams is not None:
        config.max_aux_streams = options.max_aux_streams
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    # Detailed, so that the finished engine can be asked for its layers' types.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if settings.compute_capabilities:
        config.num_compute_capabilities = len(settings.compute_capabilities)
        for index, text in enumerate(settings.compute_capabilities):
            config.set_compute_capability(_capability(trt, text), index)
    profile = builder.create_optimization_profile()
    batch = settings.batch
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = list(tensor.shape)
        if tensor.is_shape_tensor:
            # Its values steer the shapes or trip counts, so the profile bounds them too. Ours is `max_steps`.
            profile.set_shape_input(tensor.name, [1], [max_steps], [LARGEST_MAX_STEPS])
        elif shape and shape[0] == -1:
            profile.set_shape(
                tensor.name, *([size, *shape[1:]] for size in (batch.smallest, batch.tuned, batch.largest))
            )
    if config.add_optimization_profile(profile) < 0:
        raise TrmDeployError(f"TensorRT refuses the batch profile {batch}")
    return config


def _capability(trt: Any, text: str) -> Any:
    known = {
        f"{name[2:-1]}.{name[-1]}": value
        for name, value in trt.ComputeCapability.__members__.items()
        if re.fullmatch(r"SM\d{2,3}", name)
    }
    if text not in known:
        raise CannotRunHere(
            f"TensorRT for RTX {trt.__version__} builds no engine for compute capability {text},"
            f" expected one of {', '.join(known)}",
            hint="Hopper, Orin and other GPUs without RTX cores take --format trt, built on the device",
        )
    return known[text]


def _load_timing_cache(config: Any, path: Path | None) -> None:
    if path is None:
        return
    try:
        cache = config.create_timing_cache(path.read_bytes() if path.exists() else b"")
    except (TypeError, RuntimeError) as error:  # null where the bytes are no timing cache
        raise ArtefactError(f"{path}: is no timing cache of this TensorRT", hint="remove it") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if cache is None or not config.set_timing_cache(cache, False):
        raise ArtefactError(f"{path}: is no timing cache of this TensorRT and GPU", hint="remove it")


def _monitor(trt: Any, phases: Phases) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Shows the phases. Ctrl-C arrives here, and TensorRT would swallow the exception: the build is told to end."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._show(lambda: phases.start(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._show(lambda: phases.step(phase_name, step))
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._show(lambda: phases.finish(phase_name))

        def _show(self, change: Callable[[], None]) -> None:
            try:
                change()
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()


def _inspect(trt: Any, logger: Any, plan: Any, described: OnnxFile, settings: BuildSettings) -> str:
    """Ask the finished engine for its layers' types: "engine" where it tells them, else "network".

    Raises:
        TrmDeployError: the engine computes in another precision than the graph.
    """
    runtime = flavours.make(trt.Runtime, logger, settings.flavour, help="type: trm-deploy doctor")
    if settings.options.version_compatible:
        runtime.engine_host_code_allowed = True  # built here a moment ago
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise TrmDeployError(f"the engine just built does not load ({'; '.join(logger.errors[-2:])[:400]})")
    built = engine_precision(trt, engine)
    if built is None or (described.precision == "int8" and built != "int8"):
        # int8 products are only some of an int8 engine's, and may be hidden in fused layers.
        return "network"
    if built != described.precision:
        raise TrmDeployError(
            f"the engine was asked for in {described.precision}, but its layers compute in {built}",
            hint="report this with the versions that `trm-deploy doctor` prints",
        )
    return "engine"
