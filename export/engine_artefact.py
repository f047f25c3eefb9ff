"""From a checkpoint or an ONNX file to an engine: `--format trt` and `--format rtx`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trm_deploy.artefacts import bundle, golden, onnx_file
from trm_deploy.export.check import Check, announce
from trm_deploy.export.engine.build import build_engine, check_capabilities
from trm_deploy.export.options import ExportOptions

log = logging.getLogger(__name__)


def build(options: ExportOptions, output: Path, check: Check) -> None:
    """Build an engine, from a checkpoint by way of the ONNX file beside it.

    Raises:
        TrmDeployError: see `export_checkpoint` and `build_engine`.
    """
    engine = options.engine()
    if engine.compute_capabilities and not options.compute_capability:
        log.info("building for compute capability %s", ", ".join(engine.compute_capabilities))
    check_capabilities(engine)
    compare = None
    if options.from_onnx:
        _note_a_loop_inside_a_step(options.source)
    else:
        from trm_deploy.export import onnx_artefact  # it brings PyTorch

        checkpoint = onnx_artefact.build(options, options.onnx(), check)

        def compare(plan: Path) -> Mapping[str, Any]:
            # Its golden vectors are those of the ONNX file, which go over.
            return check(checkpoint, plan, str(output)).parity

    built = build_engine(options.onnx(), output, engine, target=options.device(), check=compare)
    files = " and ".join(map(str, bundle.present(output)))
    log.info("wrote %s: %s engine, %s, batch %s", files, built.graph, built.precision, built.batch)
    if built.parity:
        announce(str(output), built.parity)
    else:
        source = "CHECKPOINT" if options.from_onnx else options.source
        replayed = golden.path_of(output).is_file()
        what = f"verify {output}" if replayed else f"parity {source} {output}"
        log.info("parity of the engine is not checked yet; type on the device: trm-deploy %s", what)


def _note_a_loop_inside_a_step(onnx: Path) -> None:
    described = onnx_file.read(onnx)
    if described.graph == "step" and "Loop" in described.operators:
        log.warning(
            "the recursion inside %s is a loop, which a CUDA graph cannot hold; export it with --graph step"
            " --unroll-inner where each step's latency matters",
            onnx,
        )
