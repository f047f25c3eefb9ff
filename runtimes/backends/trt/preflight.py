"""Whether a plan can run here, found out before TensorRT sees it: its messages name neither the file nor what to do.

Compared are the plan's header, its build record where there is one, and this machine.
"""

from __future__ import annotations

from pathlib import Path

from trm_deploy.artefacts import record
from trm_deploy.artefacts.record import BuildRecord
from trm_deploy.errors import CannotRunHere
from trm_deploy.support import machine
from trm_deploy.support.files import sha256
from trm_deploy.support.machine import Gpu
from trm_deploy.trt.plan_file import Plan


def check(
    path: Path, plan: Plan, *, installed: str, gpu: Gpu | None, allow_host_code: bool, lean: bool = False
) -> BuildRecord | None:
    """Refuse what cannot or must not be loaded.

    Args:
        path: the plan's file.
        plan: what it says of itself.
        installed: version of the flavour's package here.
        gpu: the device here.
        allow_host_code: the user trusts a version-compatible plan, whose host code TensorRT executes.
        lean: the package is the lean runtime, which runs version-compatible plans alone.

    Returns:
        The build record beside the plan; None where there is none.

    Raises:
        ArtefactError: the plan is not the file that the record describes: altered or truncated.
        CannotRunHere: built for another version, device or platform; with the command that builds it here.
    """
    built = record.read_matching(path)
    version_compatible = built is not None and built.version_compatible
    hardware_compatible = built is not None and built.hardware_compatible
    rebuild = rebuild_command(path, plan, built)
    if lean and not version_compatible:
        raise CannotRunHere(
            f"{path}: TensorRT's lean runtime runs version-compatible plans alone, and"
            f" {'no record beside it says' if built is None else 'its record does not say'} that it is one",
            hint="type: trm-deploy export CHECKPOINT --format trt --version-compatible;"
            " or run this one with --runtime tensorrt",
        )
    if version_compatible and not allow_host_code:
        raise CannotRunHere(
            f"{path}: is a version-compatible plan, which carries code that runs on this machine's processor",
            hint="if you trust where it comes from, add --allow-host-code",
        )
    newer = version_compatible and _numbers(installed) > _numbers(plan.version)
    if plan.version and not _same_version(plan.version, installed) and not newer:
        raise CannotRunHere(
            f"{path}: was built by {plan.flavour.title} {plan.version}, here is {installed}", hint=rebuild
        )
    if gpu is None:
        raise CannotRunHere(
            f"{path}: a plan needs an NVIDIA GPU, and none is found here",
            hint="run the ONNX file on this machine:"
            f" trm-deploy run --engine {source_of(path, built) or 'FILE.onnx'} PUZZLES",
        )
    if built is not None:
        if built.platform and built.platform != machine.platform_tag():
            raise CannotRunHere(
                f"{path}: was built on {built.platform}, this machine is {machine.platform_tag()}", hint=rebuild
            )
        fits = gpu.compute_capability in built.compute_capabilities or (
            hardware_compatible and float(gpu.compute_capability) >= 8.0
        )
        if built.compute_capabilities and not fits:
            raise CannotRunHere(
                f"{path}: was built for compute capability {', '.join(built.compute_capabilities)},"
                f" this GPU has {gpu.compute_capability}",
                hint=rebuild,
            )
    return built


def rebuild_command(path: Path, plan: Plan, built: BuildRecord | None) -> str:
    """The command that builds a plan anew on this machine."""
    if built is not None and built.command:
        return f"type in the folder {path.parent}: {built.command}"
    return f"type here: trm-deploy export CHECKPOINT --format {plan.flavour.format} -o {path}"


def source_of(path: Path, built: BuildRecord | None) -> Path | None:
    """The ONNX file that a plan was built from, where it is beside the plan under a usual name."""
    for place in (path.with_name(path.name + ".onnx"), path.with_suffix(".onnx")):
        if place.is_file() and (built is None or built.onnx_sha256 in ("", sha256(place))):
            return place
    return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _same_version(first: str, second: str) -> bool:
    """Equal as far as both are given; NVIDIA's wheels sometimes leave the build number out."""
    return all(a == b for a, b in zip(_numbers(first), _numbers(second)))
