"""Two processes train like one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train.conftest import DATASET_RECIPE
from trm_deploy.checkpoints import archive
from trm_deploy.errors import CannotRunHere, RecipeError
from trm_deploy.train import recipe
from trm_deploy.train.distributed import Ranks, device_for
from trm_deploy.train.runlog import read_metrics
from trm_deploy.train.trainer import Trainer

# A run that is broken off after five of twelve steps and resumed, and a whole one.
SCRIPT = """
import sys
from pathlib import Path
import torch
from trm_deploy.train import distributed, recipe
from trm_deploy.train.trainer import Trainer

folder, data = map(Path, sys.argv[1:])
asked = recipe.load(str(folder / "recipe.toml")).with_flags(data=str(data), device=None)
with distributed.joined("cpu") as ranks:
    assert ranks.count == 2
    broken_off = Trainer(asked, folder / "resumed", ranks=ranks)
    for _ in range(5):
        broken_off._optimize()
        broken_off.step += 1
    broken_off.save()
    torch.distributed.barrier()  # the first process writes the file
    Trainer(asked, folder / "resumed", ranks=ranks, resume=True).run()
    Trainer(asked, folder / "two", ranks=ranks).run()
    distributed.leave(ranks)
"""


def losses(folder: Path) -> torch.Tensor:
    lines = read_metrics(folder / "metrics.jsonl")
    return torch.tensor([[line["answer_loss"], line["halting_loss"]] for line in lines if "answer_loss" in line])


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "recipe.toml").write_text(DATASET_RECIPE)
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            str(tmp_path / "script.py"), str(tmp_path), str(dataset),
        ],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    asked = recipe.parse(DATASET_RECIPE, source="test.toml").with_flags(data=str(dataset), device=None)
    Trainer(asked, tmp_path / "one").run()

    one, two, resumed = (archive.read_pickle(tmp_path / name / "resume.pt") for name in ("one", "two", "resumed"))
    first, second = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert first.shape == (12, 2)
    # Means of the same numbers, added in another order. The first two steps are of the same weights (metrics have six
    # decimals); after that recursion amplifies the rounding: 2e-5 was measured at losses up to 2.
    torch.testing.assert_close(second[:2], first[:2], rtol=0, atol=2e-6)
    torch.testing.assert_close(second, first, rtol=0, atol=2e-4)
    # Measured 4e-6, where twelve steps of 1e-3 have moved the weights.
    torch.testing.assert_close(two["average"], one["average"], rtol=0, atol=5e-5)
    torch.testing.assert_close(two["table"], one["table"], rtol=0, atol=1e-6)
    assert one["stream"] == two["stream"]
    for mine, theirs in zip(one["batches"], two["batches"]):
        for name in ("tokens", "labels", "puzzles", "steps", "halted"):
            assert torch.equal(mine[name], theirs[name]), name
    held_out = [
        [line for line in read_metrics(tmp_path / name / "metrics.jsonl") if "held_out_cells" in line][-1]
        for name in ("one", "two")
    ]
    # Of six puzzles, three in each process; 15 cells each, of which rounding may turn a few in so raw a model.
    assert held_out[0]["held_out_cells"] == pytest.approx(held_out[1]["held_out_cells"], abs=4 / 90)

    # Two processes that were stopped and resumed give the bits of two that were not.
    for name, value in two["average"].items():
        assert torch.equal(value, resumed["average"][name]), name
    assert torch.equal(two["table"], resumed["table"])
    assert (tmp_path / "two" / "identifiers.json").read_bytes() == (dataset / "identifiers.json").read_bytes()


def test_rows_are_shared_out_in_order() -> None:
    whole = torch.arange(6)
    assert [Ranks(index, 3).share(whole).tolist() for index in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert Ranks().share(whole) is not None
    assert torch.equal(Ranks().gather(whole), whole)


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path: Path, dataset: Path) -> None:
    asked = recipe.parse(DATASET_RECIPE, source="test.toml").with_flags(data=str(dataset), device=None)
    with pytest.raises(RecipeError, match="batch_size is 8, expected a multiple of the 3 processes"):
        Trainer(asked, tmp_path / "run", ranks=Ranks(0, 3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_said_and_not_replaced(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(CannotRunHere, match=r"sees 0 GPUs here, and it needs one; add --device cpu"):
        device_for("cuda", Ranks())
    asked = recipe.parse(DATASET_RECIPE, source="test.toml").with_flags(data=str(dataset), device="cuda")
    with pytest.raises(CannotRunHere):
        Trainer(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()
