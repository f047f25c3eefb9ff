"""Checkpoints of the published code: what is read from weights, configuration and flags, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from tests.conftest import GOLDEN, golden_halting_steps, random_model
from trm_deploy import checkpoints
from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.inspection.artefact import inspect
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes import load
from trm_deploy.spec import Architecture, Halting, ModelSpec, Recursion, TaskSpec

LENGTH, VOCABULARY, SIZE = 16, 6, 32
NAMES = (
    (r"^y_init", "H_init"),
    (r"^z_init", "L_init"),
    (r"^tokens\.weight", "embed_tokens.embedding_weight"),
    (r"^answer_head", "lm_head"),
    (r"^halt_head", "q_head"),
    (r"^puzzles", "puzzle_emb.weights"),
    (r"^position", "embed_pos.embedding_weight"),
    (r"^networks\.0\.blocks", "L_level.layers"),
    (r"^networks\.1\.blocks", "H_level.layers"),
    (r"mixer\.mlp\.", "mlp_t."),
    (r"mixer\.qkv", "self_attn.qkv_proj"),
    (r"mixer\.out", "self_attn.o_proj"),
    (r"gate_up", "gate_up_proj"),
    (r"down", "down_proj"),
)
TRM = "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1"
HRM = "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1"


def model_of(architecture: Mapping[str, Any], *, rule: str = "halt", identifiers: int = 3) -> RecursiveReasoner:
    """A tiny random model; what is not said is that of a TRM with attention."""
    settings = {
        "hidden_size": SIZE,
        "mixer": "attention",
        "positions": "rotary",
        "prefix_length": 2,
        "puzzle_embedding_size": 40,
        **architecture,
    }
    task = TaskSpec(
        name="",
        sequence_length=LENGTH,
        vocabulary=tuple(map(str, range(VOCABULARY))),
        puzzle_identifiers=identifiers if settings["puzzle_embedding_size"] else 1,
    )
    halting = Halting(rule=rule, max_steps=6)  # type: ignore[arg-type]
    return random_model(
        ModelSpec(
            task=task, architecture=Architecture(**settings), recursion=Recursion(latent=3, deep=2), halting=halting
        )
    )


def published_weights(model: RecursiveReasoner, prefix: str = "_orig_mod.model.inner.") -> dict[str, Tensor]:
    """The model's weights under their published names."""
    weights = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in NAMES:
            name = re.sub(ours, theirs, name)
        weights[prefix + name] = tensor.clone()
    return weights


def settings_of(model: RecursiveReasoner) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `arch` of `all_config.yaml` and `dataset.json` that go with a model."""
    spec = model.spec
    architecture = spec.architecture
    hrm = architecture.networks == "separate"
    arch = {
        "name": HRM if hrm else TRM,
        "loss": {"loss_type": "stablemax_cross_entropy"},
        "H_cycles": spec.recursion.deep,
        "L_cycles": spec.recursion.latent,
        "H_layers": architecture.layers if hrm else 0,
        "L_layers": architecture.layers,
        "expansion": int(architecture.expansion),
        "halt_max_steps": spec.halting.max_steps,
        "hidden_size": architecture.hidden_size,
        "num_heads": architecture.heads,
        "pos_encodings": {"rotary": "rope", "learned": "learned", "none": "none"}[architecture.positions],
        "puzzle_emb_ndim": architecture.puzzle_embedding_size,
        "forward_dtype": "bfloat16",
    }
    if not hrm:
        arch |= {
            "mlp_t": architecture.mixer == "mlp",
            "puzzle_emb_len": architecture.prefix_length,
            "no_ACT_continue": spec.halting.rule == "halt",
        }
    dataset = {
        "seq_len": LENGTH,
        "vocab_size": VOCABULARY,
        "num_puzzle_identifiers": spec.task.puzzle_identifiers,
        "pad_id": 0,
        "sets": ["all"],
    }
    return arch, dataset


def write(
    folder: Path, weights: Mapping[str, Tensor], arch: Mapping[str, Any] | None, dataset: Mapping[str, Any] | None
) -> Path:
    path = folder / "step_7"
    torch.save(dict(weights), path)
    if arch is not None:
        lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in arch.items())
        (folder / "all_config.yaml").write_text(f"lr: 0.0001\narch:\n{lines}")
    if dataset is not None:
        (folder / "dataset.json").write_text(json.dumps(dataset))
    return path


def assert_same(loaded: checkpoints.Checkpoint, model: RecursiveReasoner) -> None:
    """Two steps of both give the same, for different puzzles."""
    assert loaded.spec == model.spec
    read = loaded.model()
    tokens = torch.randint(VOCABULARY, (4, LENGTH), generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([0, 2, 1, 2]) % model.spec.task.puzzle_identifiers
    with torch.inference_mode():
        states = [model.initial_state(4), read.initial_state(4)]
        for _ in range(2):
            expected, actual = (m.step(tokens, *state, ids) for m, state in zip((model, read), states))
            states = [(expected.y, expected.z), (actual.y, actual.z)]
            torch.testing.assert_close(actual.logits, expected.logits, rtol=0, atol=0)
            torch.testing.assert_close(actual.halt_logit, expected.halt_logit, rtol=0, atol=0)


VARIANTS: dict[str, dict[str, Any]] = {
    "attention": {},
    "no positions": {"positions": "none"},
    "learned positions": {"positions": "learned"},
    "mlp": {"mixer": "mlp", "positions": "none", "heads": 1},
    "mlp, learned positions": {"mixer": "mlp", "positions": "learned", "heads": 1},
    "row narrower than a token": {"puzzle_embedding_size": 20, "prefix_length": 1},
    "row wider than two tokens": {"puzzle_embedding_size": 70, "prefix_length": 3},
    "more tokens than the row fills": {"puzzle_embedding_size": 32, "prefix_length": 5},
    "no puzzle embedding": {"puzzle_embedding_size": 0, "prefix_length": 0},
    "hrm": {"networks": "separate", "puzzle_embedding_size": 32, "prefix_length": 1},
    "hrm, learned positions, wider row": {"networks": "separate", "positions": "learned"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_read_back(variant: str, tmp_path: Path) -> None:
    architecture = VARIANTS[variant]
    model = model_of(architecture, rule="halt-continue" if architecture.get("networks") else "halt")
    path = write(tmp_path, published_weights(model), *settings_of(model))
    assert_same(checkpoints.load(path), model)
    assert_same(checkpoints.load(tmp_path), model)


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "_orig_mod.", "model.inner.", "_orig_mod.model.inner.", "model._orig_mod.inner."),
        *("module._orig_mod.model.inner.", "_orig_mod.module.model.inner.", "_forward_module.model.inner."),
        *("module.module.", "net.model.inner.", "ema_model.module._orig_mod.inner."),
    ],
)
def test_prefixes_in_any_combination(prefix: str, tmp_path: Path) -> None:
    model = model_of({})
    assert_same(checkpoints.load(write(tmp_path, published_weights(model, prefix), *settings_of(model))), model)


def test_a_trm_with_a_continue_logit_halts_on_the_difference(tmp_path: Path) -> None:
    model = model_of({}, rule="halt-continue")
    arch, dataset = settings_of(model)
    assert arch["no_ACT_continue"] is False
    assert_same(checkpoints.load(write(tmp_path, published_weights(model), arch, dataset)), model)


def test_narrow_buffers_become_float32(tmp_path: Path) -> None:
    model = model_of({})
    for buffer in (model.y_init, model.z_init):
        buffer.copy_(buffer.bfloat16())
    weights = published_weights(model, "")
    weights |= {name: weights[name].bfloat16() for name in ("H_init", "L_init")}
    loaded = checkpoints.load(write(tmp_path, weights, *settings_of(model)))
    assert {tensor.dtype for tensor in loaded.ema.values()} == {torch.float32}
    assert_same(loaded, model)


def test_the_published_rounding_of_the_prefix(tmp_path: Path) -> None:
    model = model_of({"puzzle_embedding_size": 70, "prefix_length": 3})
    arch, dataset = settings_of(model)
    loaded = checkpoints.load(write(tmp_path, published_weights(model), {**arch, "puzzle_emb_len": 0}, dataset))
    assert loaded.spec.architecture.prefix_length == 3


def test_rotary_positions_do_nothing_in_an_mlp(tmp_path: Path) -> None:
    model = model_of({"mixer": "mlp", "positions": "none", "heads": 1})
    arch, dataset = settings_of(model)
    arch["pos_encodings"] = "rope"
    assert_same(checkpoints.load(write(tmp_path, published_weights(model), arch, dataset)), model)


def test_flags_take_the_place_of_the_files(tmp_path: Path) -> None:
    model = model_of({})
    path = write(tmp_path, published_weights(model), None, None)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    message = str(caught.value)
    needed = ["arch.H_cycles", "arch.L_cycles", "arch.halt_max_steps", "arch.expansion", "arch.num_heads"]
    needed += ["arch.pos_encodings", "arch.no_ACT_continue", "seq_len", "arch.puzzle_emb_len"]
    for key in needed:
        assert f"--set {key}=" in message
    arch, dataset = settings_of(model)
    said = {f"arch.{key}": value for key, value in arch.items()} | dataset
    flags = [f"{key}={json.dumps(said[key])}".replace('"', "") for key in needed]
    assert_same(checkpoints.load(path, flags), model)
    for dropped in range(len(flags)):
        with pytest.raises(CheckpointError, match=f"cannot tell {re.escape(needed[dropped])}, and no"):
            checkpoints.load(path, flags[:dropped] + flags[dropped + 1 :])


def test_a_flag_goes_before_the_file_and_inspect_says_so(tmp_path: Path) -> None:
    model = model_of({})
    path = write(tmp_path, published_weights(model), *settings_of(model))
    assert checkpoints.load(path, ["arch.H_cycles=5"]).spec.recursion.deep == 5
    settings = inspect(tmp_path, ["arch.H_cycles=5"])["settings"]
    assert "arch.H_cycles = 5 (--set, not 2 as in all_config.yaml)" in settings
    assert "arch.L_cycles = 3 (all_config.yaml)" in settings
    assert f"seq_len = {LENGTH} (dataset.json)" in settings
    assert f"vocab_size = {VOCABULARY} (weights, and dataset.json)" in settings
    assert "arch.rope_theta = 10000.0 (the published classes)" in settings


def test_what_the_mlp_shows_need_not_be_said(tmp_path: Path) -> None:
    model = model_of({"mixer": "mlp", "positions": "none", "heads": 1})
    arch, dataset = settings_of(model)
    path = write(tmp_path, published_weights(model), arch, None)
    assert_same(checkpoints.load(path), model)
    del arch["puzzle_emb_len"]
    path = write(tmp_path, published_weights(model), arch, dataset)
    assert_same(checkpoints.load(path), model)


def test_a_task_by_name(tmp_path: Path) -> None:
    model = model_of({})
    path = write(tmp_path, published_weights(model), *settings_of(model))
    assert checkpoints.load(path).spec.task.name == ""
    spec = checkpoints.load(path, ["task=sudoku-4x4"]).spec
    assert spec.task.name == "sudoku-4x4"
    assert spec.task.vocabulary != model.spec.task.vocabulary
    with pytest.raises(CheckpointError, match=r"has 16 tokens a puzzle .* --set task=sudoku-9x9 has 81 and 11"):
        checkpoints.load(path, ["task=sudoku-9x9"])
    with pytest.raises(CheckpointError, match="--set task=chess: the task 'chess' is unknown, expected one of sudoku"):
        checkpoints.load(path, ["task=chess"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vocab_size", 7, r"embedding_weight \[6, 32\]: vocab_size is 6, but .*dataset.json says vocab_size = 7"),
        ("num_puzzle_identifiers", 4, r"puzzle_emb.weights \[3, 40\]: num_puzzle_identifiers is 3, but .* = 4"),
        ("seq_len", 17, r"mlp_t.down_proj.weight \[18, \d+\] is for 18 positions, expected 19"),
        ("arch.hidden_size", 64, r"arch.hidden_size is 32, but .*all_config.yaml says arch.hidden_size = 64"),
        ("arch.L_layers", 3, r"arch.L_layers is 2, but .* = 3"),
        ("arch.puzzle_emb_ndim", 32, r"weights \[3, 40\]: arch.puzzle_emb_ndim is 40, but .* = 32"),
        ("arch.puzzle_emb_len", 16, r"is for 18 positions, expected 32: a prefix of 16 and seq_len 16"),
        ("arch.mlp_t", False, r"arch.mlp_t is True, but .* = False"),
        ("arch.expansion", 40, r"mlp_t.down_proj.weight \[18, 256\] has a hidden width of 256, which .* 512"),
        ("arch.pos_encodings", "learned", r"no embed_pos.embedding_weight: .* is not learned, but .* = learned"),
        ("arch.pos_encodings", "alibi", r"arch.pos_encodings is 'alibi', expected one of rope, learned, none"),
        ("arch.name", HRM, r"its weights are those of a TRM \(without an H_level\), but .*all_config.yaml says"),
        ("arch.name", TRM.replace("trm@", "trm_singlez@"), r"trm_singlez@.*, expected the published"),
        ("arch.H_cycles", "three", r"all_config.yaml: arch.H_cycles is 'three', expected a whole number"),
        ("arch.H_cycles", 2.5, r"arch.H_cycles is 2.5, expected a whole number"),
        ("arch.expansion", float("inf"), r"arch.expansion is .*, expected a number"),
        ("arch.H_cycles", 0, r"recursion.deep is 0, expected at least 1"),
        ("arch.no_ACT_continue", "maybe", r"arch.no_ACT_continue is 'maybe', expected true or false"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, key: str, value: object, message: str) -> None:
    model = model_of({"mixer": "mlp", "positions": "none", "heads": 1})
    arch, dataset = settings_of(model)
    changed = arch if key.startswith("arch.") else dataset
    changed[key.removeprefix("arch.")] = value
    path = write(tmp_path, published_weights(model), arch, dataset)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoints.load(path)
    assert str(tmp_path) in str(caught.value)


def test_contradictions_of_an_hrm(tmp_path: Path) -> None:
    model = model_of(VARIANTS["hrm"], rule="halt-continue")
    arch, dataset = settings_of(model)
    weights = published_weights(model)

    def refused(message: str, weights: dict[str, Tensor] = weights, **changed: object) -> None:
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load(write(tmp_path, weights, {**arch, **changed}, dataset))

    refused(r"its prefix has 1 tokens, but .* says arch.puzzle_emb_len = 16", puzzle_emb_len=16)
    refused(r"arch.H_layers is 2, but .* = 4", H_layers=4)
    refused("arch.pos_encodings is 'none', expected rope or learned in an HRM", pos_encodings="none")
    refused("architecture.hidden_size is 32 with 5 heads", num_heads=5)
    fewer = {name: tensor for name, tensor in weights.items() if "H_level.layers.1" not in name}
    refused("has 1 layers in H_level and 2 layers in L_level", fewer, H_layers=1)
    gap = {name: tensor for name, tensor in weights.items() if "L_level.layers.0" not in name}
    refused(r"L_level has the layers \[1\], some are missing", gap)


def test_weights_that_do_not_belong(tmp_path: Path) -> None:
    model = model_of({})
    arch, dataset = settings_of(model)
    weights = published_weights(model)
    inner = "_orig_mod.model.inner."

    def refused(message: str, changed: dict[str, Tensor]) -> None:
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load(write(tmp_path, changed, arch, dataset))

    refused(
        "the weight .*L_level.layers.0.norm.scale.weight",
        {**weights, f"{inner}L_level.layers.0.norm.scale.weight": torch.ones(3)},
    )
    refused("the weight .*z1_init .* belongs to neither", {**weights, f"{inner}z1_init": torch.ones(3)})
    refused("are the same one", {**weights, "H_init": torch.ones(SIZE)})
    refused("is torch.int64", {**weights, f"{inner}H_init": torch.ones(SIZE, dtype=torch.int64)})
    bias = {k: v for k, v in weights.items() if "q_head.bias" not in k}
    refused(r"the weight q_head.bias is missing, its spec expects \[2\]", bias)
    wide = {**weights, f"{inner}lm_head.weight": torch.ones(7, SIZE)}
    refused(r"lm_head.weight has the shape \[7, 32\], its spec expects \[6, 32\]", wide)
    refused("embed_tokens.embedding_weight is missing", {k: v for k, v in weights.items() if "embed" not in k})
    part = "L_level.layers.1.self_attn.o_proj"
    refused(f"the weight {part}.weight is missing", {k: v for k, v in weights.items() if part not in k})
    # Weights of a network that TRM does not have.
    both = {**weights, f"{inner}L_level.layers.0.mlp_t.down_proj.weight": torch.ones(18, 256)}
    refused("its weights: arch.mlp_t is True, but", both)


def test_malformed_files_beside_it(tmp_path: Path) -> None:
    model = model_of({})
    path = write(tmp_path, published_weights(model), *settings_of(model))
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"dataset.json: cannot be read as JSON"):
        checkpoints.load(path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"dataset.json: is a JSON list"):
        checkpoints.load(path)
    for text, message in (("arch: [", "is not plain YAML"), ("arch: !!python/name:os.system", "is not plain YAML")):
        (tmp_path / "all_config.yaml").write_text(text)
        with pytest.raises(CheckpointError, match=f"all_config.yaml: {message}"):
            checkpoints.load(path)
    (tmp_path / "all_config.yaml").write_text("lr: 1\n")
    with pytest.raises(CheckpointError, match=r"all_config.yaml: has no mapping 'arch'"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["H_cycles=3"], "'H_cycles' is unknown, expected one of task, seq_len"),
        (["arch.H_cycles"], "expected KEY=VALUE"),
        (["seq_len=81", "seq_len=82"], "given twice: 81 and 82"),
        (["seq_len=-81"], "--set seq_len is '-81', expected a whole number"),
        (["arch.mlp_t=yes"], "--set arch.mlp_t is 'yes', expected true or false"),
        (["vocab_size=9"], "vocab_size is 6, but --set says vocab_size = 9"),
    ],
)
def test_bad_flags(tmp_path: Path, flags: list[str], message: str) -> None:
    model = model_of({})
    path = write(tmp_path, published_weights(model), *settings_of(model))
    with pytest.raises(InputError, match=message):
        checkpoints.load(path, flags)


def test_flags_are_not_for_our_own_checkpoints(tiny_checkpoint: Path) -> None:
    with pytest.raises(InputError, match="--set seq_len=81 applies to a checkpoint of the published code"):
        checkpoints.load(tiny_checkpoint, ["seq_len=81"])


def test_in_a_folder_the_last_step_is_taken(tmp_path: Path) -> None:
    weights = published_weights(model_of({}))
    for name in ("step_90", "step_1000", "step_200"):
        torch.save(weights, tmp_path / name)
    (tmp_path / "step_5000_all_preds.0").write_bytes(b"no checkpoint")
    assert checkpoints.locate(tmp_path) == tmp_path / "step_1000"
    torch.save(weights, tmp_path / "step_1000.pt")
    with pytest.raises(CheckpointError, match=r"several checkpoints: step_1000, step_1000.pt; name one of them"):
        checkpoints.locate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(CheckpointError, match="is a folder without a checkpoint"):
        checkpoints.load(other)
    torch.save(weights, other / "checkpoint")
    assert checkpoints.locate(other) == other / "checkpoint"


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_checkpoints_in_onnx_runtime(name: str, published_data: Path, tmp_path: Path) -> None:
    folder = published_data / "golden" / name
    onnx.save(export_onnx(checkpoints.load(folder).model()), tmp_path / "golden.onnx")
    runtime = load(tmp_path / "golden.onnx")
    recorded = np.load(folder / "io.npz")
    tokens = recorded["inputs"].astype(np.int32)
    q = recorded["q_halt"] - (recorded["q_continue"] if GOLDEN[name] else 0)
    for index, step in enumerate(recorded["steps"].tolist()):
        solution = runtime.solve(tokens, max_steps=step, halt_threshold=np.inf)
        np.testing.assert_allclose(solution.logits, recorded["logits"][index], atol=1e-3)
        np.testing.assert_array_equal(solution.answer, recorded["argmax"][index])
        np.testing.assert_allclose(solution.halt_logit, q[step - 1], atol=1e-3)
    solution = runtime.solve(tokens, max_steps=16, halt_threshold=0.0)
    np.testing.assert_array_equal(solution.steps, golden_halting_steps(name, recorded))
