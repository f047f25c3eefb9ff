"""ONNX to an engine, with TensorRT or TensorRT for RTX. Needs neither torch nor onnx: it runs on a Jetson.

The network is strongly typed: its precision is the graph's, and the builder may not choose another. One code path
serves TensorRT 10.3 to 11 and TensorRT for RTX; `trm_deploy.trt.flavours` has what differs between the packages.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trm_deploy.artefacts import bundle, embeddings, golden, identifiers, onnx_file, record
from trm_deploy.artefacts.onnx_file import INT8_BY_ROW, OnnxFile
from trm_deploy.artefacts.record import BuildRecord
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError, MissingPackage, TrmDeployError
from trm_deploy.export.engine.options import BatchProfile, EngineOptions, flag_of
from trm_deploy.export.engine.targets import Target
from trm_deploy.signature import TOKENS
from trm_deploy.spec import MAX_STEPS
from trm_deploy.support import machine
from trm_deploy.support.files import refuse_folder, sha256, write_atomic
from trm_deploy.support.machine import Gpu
from trm_deploy.support.progress import Phases
from trm_deploy.trt import flavours, network
from trm_deploy.trt.precision import engine_precision

log = logging.getLogger(__name__)


def build_engine(
    source: Path,
    output: Path,
    options: EngineOptions,
    *,
    target: Target | None = None,
    check: Callable[[Path], Mapping[str, Any]] | None = None,
) -> BuildRecord:
    """Build the engine of an ONNX file that `export` made, and publish it with its side files.

    Args:
        source: the ONNX file.
        output: the plan to write.
        options: how.
        target: the device that it is for; checked before the build.
        check: looks at the finished plan, before it gets its name, where this machine can run it; returns the entry
            `parity` of the record, or raises.

    Returns:
        The record that was written.

    Raises:
        ArtefactError: the ONNX file cannot be read or is not ours, or TensorRT cannot parse it.
        CannotRunHere: the package is missing, there is no GPU to build on, or the target cannot take the graph.
        InputError: the output is a folder, or the timing cache cannot be read.
        TrmDeployError: the build failed, or its precision is not the graph's.
    """
    described = onnx_file.read(source)
    if INT8_BY_ROW in described.operators:
        raise CannotRunHere(
            f"{source}: its int8 products have a scale for each row, for CPUs, and TensorRT knows only static ones",
            hint=f"type: trm-deploy export CHECKPOINT --format {options.format} --precision int8",
        )
    if described.baked is not None and not options.constant_limits:
        raise InputError(
            f"{source}: its step limit and halting threshold are constants, and an engine takes them as inputs",
            hint=f"export again without --bake-limits: trm-deploy export CHECKPOINT --format {options.format}",
        )
    if described.seal is onnx_file.Seal.changed:
        log.warning("%s: %s", source, onnx_file.CHANGED)
    if target is not None:
        target.check(described, source)
    refuse_folder(output)
    flavour = options.flavour
    # What is beside the ONNX file must be whole before a build is worth its time.
    embeddings.open_table(source, described.spec)
    identifiers.read(source)
    golden.read(source)
    elsewhere = command(source, output, options)
    gpu = machine.gpu()
    if target is not None and gpu is not None and not flavour.ahead_of_time:
        target.check_gpu(gpu, hint=f"type there: {elsewhere}")
    trt = flavours.load(flavour, purpose=f"to build {output}", otherwise=f"or type on the device: {elsewhere}")
    logger = flavours.make_logger(trt)
    builder = flavours.make(trt.Builder, logger, flavour, help=f"type on the device: {elsewhere}")
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    network.parse(trt, definition, logger, source)
    if (size := _fixed_batch(definition)) and str(options.batch) != str(fixed := BatchProfile(size, size, size)):
        log.info("%s takes batches of %d only, and so will the engine", source, size)
        options = replace(options, batch=fixed)
        elsewhere = command(source, output, options)
    network.set_name(definition, described, source)
    network.check_types(trt, definition, described, source)
    config = _configure(trt, builder, definition, options, described.spec.halting.max_steps)
    _load_timing_cache(config, options.builder.timing_cache)
    with Phases(f"building {output.name}") as phases:
        config.progress_monitor = monitor = _monitor(trt, phases)
        plan = builder.build_serialized_network(definition, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        reason = "; ".join(logger.errors[-2:]) or "it gives no reason"
        raise TrmDeployError(
            f"{source}: {flavour.title} cannot build an engine from it ({reason[:400]})",
            hint="type trm-deploy --debug export ... for its whole log, or try --graph step",
        )
    built = replace(_record(source, described, options, gpu, {flavour.module: trt.__version__}), command=elsewhere)
    runs_here = gpu is not None and gpu.compute_capability in built.compute_capabilities
    if runs_here:  # only a GPU that can run the engine can tell what it is
        built = replace(built, precision_source=_inspect(trt, logger, plan, described, options))
    with bundle.staged(output) as staging:
        staging.artefact.write_bytes(bytes(plan))
        if described.spec.puzzle_table_outside:
            staging.carry(source, embeddings.FILE)
        staging.carry(source, identifiers.FILE)
        staging.carry(source, golden.FILE)
        built = staging.publish(built, check=check if runs_here else None)
    if options.builder.timing_cache is not None:
        write_atomic(options.builder.timing_cache, bytes(config.get_timing_cache().serialize()))
    return built


def command(source: Path, output: Path, options: EngineOptions) -> str:
    """What to type in the folder of both files to build the engine there."""
    where = ["--format", options.format]
    if options.constant_limits:
        where = ["--format", "triton", "--backend", "tensorrt", "--name", output.parent.parent.name]
    words = ["trm-deploy", "export", source.name, *where, "--batch", str(options.batch)]
    for flag, value in options.builder.given().items():
        if flag != flag_of("timing_cache"):  # a file of this machine
            words += [flag] if value is True else [flag, str(value)]
    if options.compute_capabilities:
        words += ["--compute-capability", ",".join(options.compute_capabilities)]
    return shlex.join([*words, "-o", "../.." if options.constant_limits else output.name])


def _record(
    source: Path, described: OnnxFile, options: EngineOptions, gpu: Gpu | None, versions: dict[str, str]
) -> BuildRecord:
    """What is known of an engine before it is built; its ONNX file's own record goes over into it."""
    before = record.read_matching(source)
    capabilities = options.compute_capabilities or ((gpu.compute_capability,) if gpu else ())
    return BuildRecord(
        format=options.format,
        graph=described.graph,
        steps=described.steps,
        precision=described.precision,
        precision_source="network",
        checkpoint_sha256=before.checkpoint_sha256 if before else "",
        checkpoint_source=before.checkpoint_source if before else {},
        onnx_sha256=sha256(source),
        artefact_sha256="",
        opset=described.opset,
        ir_version=described.ir_version,
        versions={**(before.versions if before else {}), **versions},
        halting_threshold=before.halting_threshold if before else described.spec.halting.threshold,
        overrides=before.overrides if before else (),
        contradictions=before.contradictions if before else (),
        batch=str(options.batch),
        platform=machine.platform_tag(),
        device=gpu.name if gpu and gpu.compute_capability in capabilities else "",
        compute_capabilities=capabilities,
        version_compatible=options.builder.version_compatible,
        hardware_compatible=options.builder.hardware_compatible,
    )


def _configure(trt: Any, builder: Any, definition: Any, options: EngineOptions, max_steps: int) -> Any:
    config = builder.create_builder_config()
    given = options.builder
    # On by default, and not float32: it keeps ten bits of the mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if given.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, given.workspace_mib << 20)
    if given.opt_level is not None:
        config.builder_optimization_level = given.opt_level
    if given.max_aux_streams is not None:
        config.max_aux_streams = given.max_aux_streams
    if given.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if given.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    # Detailed, so that the finished engine tells its layers' types.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.compute_capabilities:
        config.num_compute_capabilities = len(options.compute_capabilities)
        for index, text in enumerate(options.compute_capabilities):
            config.set_compute_capability(_capability(trt, text), index)
    profile = builder.create_optimization_profile()
    batch = options.batch
    for index in range(definition.num_inputs):
        tensor = definition.get_input(index)
        shape = list(tensor.shape)
        if tensor.is_shape_tensor:
            # Its values steer the shapes or trip counts, so the profile bounds them too. Ours is `max_steps`.
            profile.set_shape_input(tensor.name, [1], [max_steps], [MAX_STEPS])
        elif shape and shape[0] == -1:
            profile.set_shape(
                tensor.name, *([size, *shape[1:]] for size in (batch.smallest, batch.tuned, batch.largest))
            )
    if config.add_optimization_profile(profile) < 0:
        raise InputError(f"--batch is {batch}, which TensorRT refuses for this graph", hint="name smaller batch sizes")
    return config


def check_capabilities(options: EngineOptions) -> None:
    """Before the work: whether the builder knows the compute capabilities, where its package is installed here.

    Raises:
        CannotRunHere: it does not know one of them.
    """
    if options.compute_capabilities:
        try:
            trt = flavours.load(options.flavour, purpose="to build an engine")
        except MissingPackage:
            return  # said where the engine is built: its ONNX file is of use without it
        for text in options.compute_capabilities:
            _capability(trt, text)


def _fixed_batch(definition: Any) -> int | None:
    """The batch size of a network that takes no other."""
    inputs = [definition.get_input(index) for index in range(definition.num_inputs)]
    size = next(int(tensor.shape[0]) for tensor in inputs if tensor.name == TOKENS)
    return size if size > 0 else None


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
    except (TypeError, RuntimeError) as error:  # null where the bytes are not one
        raise ArtefactError(f"{path}: is not a timing cache of this TensorRT", hint="remove it") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if cache is None or not config.set_timing_cache(cache, False):
        raise ArtefactError(f"{path}: is not a timing cache of this TensorRT and GPU", hint="remove it")


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


def _inspect(trt: Any, logger: Any, plan: Any, described: OnnxFile, options: EngineOptions) -> str:
    """Read the layers' types from the finished engine: "engine" where it tells them, else "network".

    Raises:
        TrmDeployError: the engine computes in another precision than the graph.
    """
    runtime = flavours.make(trt.Runtime, logger, options.flavour, help="type: trm-deploy doctor")
    if options.builder.version_compatible:
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
            f"the graph is in {described.precision}, but the layers of the engine compute in {built}",
            hint="report this with the versions that `trm-deploy doctor` prints",
        )
    return "engine"
