"""The options of an export, and the checks that need nothing but them: all before anything is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from trm_deploy.artefacts import kind, onnx_file
from trm_deploy.errors import ArtefactError, InputError, shown
from trm_deploy.export.engine.options import BatchProfile, BuilderOptions, EngineOptions, flag_of
from trm_deploy.export.engine.targets import Target, target, this_machine
from trm_deploy.export.formats import (
    BATCH,
    DEFAULT_FORMAT,
    DEFAULT_GRAPH,
    FORMATS,
    GRAPH_OPTIONS,
    MAX_BATCH,
    OPSET,
    OPSETS,
    REPOSITORY,
    RTX_CAPABILITIES,
    TRITON_BACKENDS,
    Format,
)
from trm_deploy.signature import GRAPHS, PRECISIONS, Graph, Precision
from trm_deploy.spec import MAX_STEPS
from trm_deploy.support import machine
from trm_deploy.support.files import check_output, check_output_folder, refuse_folder


@dataclass(frozen=True, kw_only=True)
class ExportOptions(BuilderOptions):
    """Options of `trm-deploy export`; None, False or empty: not given. `BuilderOptions` has those of the builder.

    Attributes:
        source: a checkpoint; for an engine also an ONNX file that `export` made.
        output: the file to write, or Triton's model repository; the source's stem in the current folder where None.
        format: key of `FORMATS`.
        graph: the form of the graph.
        steps: supervision steps of the unrolled form; the checkpoint's maximum where None.
        precision: of weights and activations; the format's default where None.
        opset: of the ONNX standard operators.
        unroll_inner: write the inner recursions out instead of looping.
        target: the device that it is for, see `trm_deploy.export.engine.targets`.
        batch: an engine's batch sizes, MIN:OPT:MAX, the target's where None; of an ONNX file its only one, any where
            None.
        bake_limits: the checkpoint's step limit and threshold as constants of the graph rather than inputs.
        compute_capability: GPUs to build for ahead of time, separated by commas.
        overrides: KEY=VALUE, what a published checkpoint does not say of itself.
        identifiers: names of the puzzle ids; the `identifiers.json` beside the checkpoint where None, if any.
        static_scales: int8 with a scale for each product rather than for each row, in an ONNX file; engines always have
            them.
        calibrate: puzzles for the static scales; the task's examples where None.
        force: write over an existing file of another kind.
        backend: Triton's, key of `TRITON_BACKENDS`.
        name: of the model in the repository; where None the source's stem, with "-step" behind it in the step form.
        reset_column: the step form takes `reset` as bool [B, 1]; Triton's does.
    """

    source: Path
    output: Path | None = None
    format: str = DEFAULT_FORMAT
    graph: Graph | None = None
    steps: int | None = None
    precision: Precision | None = None
    opset: int | None = None
    unroll_inner: bool = False
    target: str | None = None
    batch: str | None = None
    bake_limits: bool = False
    compute_capability: str | None = None
    overrides: tuple[str, ...] = ()
    identifiers: Path | None = None
    static_scales: bool = False
    calibrate: Path | None = None
    force: bool = False
    backend: str | None = None
    name: str | None = None
    reset_column: bool = False

    def check(self) -> None:
        """Refuse what cannot be done, contradicts itself, or would do nothing.

        Raises:
            InputError: naming the flag, what came and what was expected.
        """
        for name, choices in (
            ("format", FORMATS), ("graph", GRAPHS), ("precision", PRECISIONS), ("backend", TRITON_BACKENDS),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise InputError(f"{flag_of(name)} is {value!r}, expected one of {', '.join(choices)}")
        self._check_that_all_apply()
        self._check_values()
        self.device()
        self._check_files()

    def _check_that_all_apply(self) -> None:
        """An option that would do nothing is a misunderstanding."""
        if self.from_onnx and not self.model_form.kind.is_plan:
            already = " already" if self.format == "onnx" else f", not a checkpoint as --format {self.format} needs"
            hint = "add --backend tensorrt" if self.format == "triton" else "add --format trt or rtx"
            raise InputError(f"{self.source}: is an ONNX file{already}", hint=f"{hint}, or name a checkpoint")
        for name in sorted(frozenset().union(*(entry.options for entry in FORMATS.values()))):
            if name not in self.form.options:
                formats = [key for key, entry in FORMATS.items() if name in entry.options]
                others = " or ".join(key for key in formats if key != "triton" or formats == ["triton"])
                self._refuse(name, f"applies to --format {others}, not to --format {self.format}")
            elif self.format == "triton" and name not in {*self.model_form.options, "batch", "backend", "name"}:
                self._refuse(name, "applies to --backend tensorrt")
        if self.from_onnx:
            for name in GRAPH_OPTIONS:
                self._refuse(
                    name, f"applies to a checkpoint: {self.source} is an ONNX file, which has its graph already"
                )
        if self.precision != "int8":
            self._refuse("calibrate", "applies to --precision int8")
            self._refuse("static_scales", "applies to --precision int8")
        elif not (self.static_scales or self.model_form.kind.is_plan):
            triton = self.format == "triton"
            others = "--backend tensorrt" if triton else "--format trt or rtx, and with --static-scales"
            self._refuse("calibrate", f"applies to {others}")
        if self.graph != "unrolled":
            self._refuse("steps", f"applies to --graph unrolled, not to --graph {self.graph or DEFAULT_GRAPH}")
        if self.precision == "bf16" and self.format == "triton" and not self.model_form.kind.is_plan:
            raise InputError(
                "--precision bf16 is not for ONNX Runtime, which computes none on CPUs",
                hint="use --precision fp16, or --backend tensorrt",
            )
        if self.graph == "step":
            self._refuse("bake_limits", "applies to --graph loop and unrolled: a step has no limits")

    def _refuse(self, name: str, reason: str) -> None:
        value = getattr(self, name)
        if value not in (None, False, ()):
            flag = flag_of(name)
            raise InputError(f"{flag} {reason}", hint=f"leave out {flag}")

    def _check_values(self) -> None:
        for name, smallest, largest in (
            ("steps", 1, MAX_STEPS),
            ("opset", OPSETS[0], OPSETS[-1]),
            ("workspace_mib", 1, None),
            ("opt_level", 0, 5),
            ("max_aux_streams", 0, None),
        ):
            value = getattr(self, name)
            if value is not None and (value < smallest or (largest is not None and value > largest)):
                expected = f"at least {smallest}" if largest is None else f"{smallest} to {largest}"
                raise InputError(f"{flag_of(name)} is {value}, expected {expected}")
        if self.batch is not None:
            profile = BatchProfile.parse(self.batch)
            if self.model_form is FORMATS["onnx"]:
                if self.format == "triton" and not self.batch.isdigit():
                    raise InputError(
                        f"--batch is {self.batch}, expected one number, the largest batch of the server",
                        hint="MIN:OPT:MAX are those of --backend tensorrt",
                    )
                if not self.batch.isdigit():
                    raise InputError(
                        f"--batch is {self.batch}, expected one number: an ONNX file has one batch size, or takes any",
                        hint="leave out --batch for any number of puzzles at a time",
                    )
                if profile.largest > MAX_BATCH:
                    raise InputError(f"--batch is {self.batch}, expected 1 to {MAX_BATCH}")
        if self.name is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", self.name):
            raise InputError(f"--name is {shown(self.name)}, expected letters, digits, '.', '_' and '-'")
        for text in self.compute_capabilities:
            if not re.fullmatch(r"\d{1,2}\.\d", text):
                raise InputError(
                    f"--compute-capability is {self.compute_capability!r}, expected numbers such as 8.6,8.9",
                    hint="NVIDIA lists each GPU's at developer.nvidia.com/cuda-gpus",
                )

    def _check_files(self) -> None:
        """Every file that is named can be read or written, and none is lost."""
        if not self.source.exists():
            kind.refuse_missing(self.source)
        read = [path for path in (self.identifiers, self.calibrate) if path is not None]
        for path in read:
            if not path.is_file():
                raise InputError(f"{path}: there is no such file")
        refuse_folder(self.timing_cache, flag_of("timing_cache"))
        outputs = {self.artefact(): self.model_form}
        if self.format == "triton":
            self._check_repository()
        if self.model_form.kind.is_plan and not self.from_onnx:
            outputs[self.onnx()] = FORMATS["onnx"]
        inputs = [self.source, *read]
        if self.source.is_dir():
            inputs += [path for path in self.source.iterdir() if path.is_file()]
        for output, form in outputs.items():
            check_output(
                output,
                inputs=inputs,
                replaceable=partial(_is_of, form),
                expected=f"{form.title} that export made",
                force=self.force,
            )

    def _check_repository(self) -> None:
        """A model in a repository is not written over: a server may be running it."""
        folder = self.artefact().parent.parent
        whole = [entry for entry in (folder / "config.pbtxt", self.artefact()) if entry.exists()]
        check_output_folder(folder.parent)
        check_output_folder(
            folder,
            holds="a model" if whole and not self._is_source(folder) else "",
            force=self.force,
            instead="name another model with --name",
        )

    def _is_source(self, folder: Path) -> bool:
        """Whether the source is the ONNX file of that model, whose plan is built again."""
        return self.from_onnx and self.source.resolve().parent.parent == folder.resolve()

    @property
    def form(self) -> Format:
        """The row of the format."""
        return FORMATS[self.format]

    @property
    def model_format(self) -> str:
        """The format of the model itself: of Triton that which its backend runs."""
        return TRITON_BACKENDS[self.backend or next(iter(TRITON_BACKENDS))] if self.format == "triton" else self.format

    @property
    def model_form(self) -> Format:
        """The row of the model's own format."""
        return FORMATS[self.model_format]

    def of_model(self) -> ExportOptions:
        """The export of the model itself: for Triton with its limits baked in, or `reset` as a column."""
        if self.format != "triton":
            return self
        is_step = not self.from_onnx and self.graph == "step"
        return replace(
            self,
            format=self.model_format,
            output=self.artefact(),
            bake_limits=not is_step,
            reset_column=is_step,
            batch=self.batch if self.model_form.kind.is_plan else None,
            backend=None,
            name=None,
        )

    @property
    def from_onnx(self) -> bool:
        """Whether the source is an ONNX file rather than a checkpoint."""
        return self.source.suffix == FORMATS["onnx"].extension and not kind.is_checkpoint(self.source)

    @property
    def compute_capabilities(self) -> tuple[str, ...]:
        """Those that are given."""
        return tuple(part.strip() for part in (self.compute_capability or "").split(",") if part.strip())

    def artefact(self) -> Path:
        """The file to write: -o, else the source's stem in the current folder; in Triton's repository its version 1."""
        if self.format == "triton":
            name = self.name or f"{self._stem()}{'-step' if self.graph == 'step' else ''}"
            return (self.output or Path(REPOSITORY)) / name / "1" / f"model{self.model_form.extension}"
        if self.output is not None:
            return self.output
        return Path(f"{self._stem()}{self.form.extension}")

    def _stem(self) -> str:
        """The source's name without its ending; of a model in a Triton repository that of its folder."""
        # "." and ".." have no name of their own.
        source = self.source.resolve() if self.source.name in ("", "..") else self.source
        stem = source.stem.removesuffix(".plan") if self.from_onnx else source.stem
        return source.resolve().parent.parent.name if self.from_onnx and stem == "model" else stem

    def onnx(self) -> Path:
        """The ONNX file on the way: the artefact itself, or of an engine the source or a file beside the artefact."""
        if self.model_form is FORMATS["onnx"]:
            return self.artefact()
        artefact = self.artefact()
        return self.source if self.from_onnx else artefact.with_name(artefact.name + FORMATS["onnx"].extension)

    def device(self) -> Target | None:
        """The target that is named; else, where an engine is built on this machine, this machine if it is known.

        Raises:
            InputError: there is no such target, or the format does not serve it.
        """
        if self.target is None:
            return this_machine() if self.model_format == "trt" else None
        found = target(self.target)
        if self.format == "rtx" and not found.rtx:
            raise InputError(
                f"--target {self.target} is not served by TensorRT for RTX", hint="use --format trt on the device"
            )
        return found

    def graph_precision(self) -> Precision:
        """The precision of the graph: the flag's, else the format's default."""
        return self.precision or self.model_form.precision

    def graph_opset(self) -> int:
        """The opset of the graph: the flag's, else the default, or what the target reads where that is lower."""
        device = self.device()
        return self.opset or min(OPSET, device.opset if device else OPSET)

    def engine(self) -> EngineOptions:
        """How to build the engine."""
        device = self.device()
        capabilities = self.compute_capabilities
        if self.format == "rtx" and not capabilities:
            gpu = machine.gpu()
            found = device.compute_capability if device else gpu.compute_capability if gpu else ""
            capabilities = (found,) if found else RTX_CAPABILITIES
        builder = BuilderOptions(**{entry.name: getattr(self, entry.name) for entry in fields(BuilderOptions)})
        # A workspace is TensorRT's; TensorRT for RTX picks no tactics by time.
        if device is not None and self.format == "trt" and builder.workspace_mib is None:
            builder = replace(builder, workspace_mib=device.workspace_mib)
        return EngineOptions(
            format=self.format,
            batch=BatchProfile.parse(self.batch or (device.batch if device else BATCH)),
            builder=builder,
            compute_capabilities=capabilities,
            constant_limits=self.bake_limits or self.reset_column,
        )


def _is_of(form: Format, path: Path) -> bool:
    """Whether a file is one of a format that `export` made; an ONNX file tells by its metadata."""
    try:
        if kind.of(path) is not form.kind:
            return False
        if form.kind is kind.Kind.onnx:
            onnx_file.read(path)
        if form.kind is kind.Kind.checkpoint:
            return onnx_file.METADATA_KEY.encode() in kind.safetensors_header(path)
    except ArtefactError:
        return False
    return True


def options_of(**given: Any) -> ExportOptions:
    """`ExportOptions` from keywords, such as those of the Python API.

    Raises:
        InputError: there is no such option.
    """
    known = {entry.name for entry in fields(ExportOptions)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise InputError(f"export has no option {unknown[0]!r}, expected one of {', '.join(sorted(known))}")
    return ExportOptions(**given)
