"""Training in several processes: what torchrun started, and what the processes exchange.

The global batch is the same for any number of processes: each draws all samples and all random numbers, and keeps the
rows that are its own. Rank r of R holds the rows from r * B / R up to (r + 1) * B / R.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from trm_deploy.errors import CannotRunHere


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; one alone where nothing else is said.

    Attributes:
        index: of this process, from 0 (published name: rank).
        count: processes in all (world size).
        local: index among the processes of this machine.
    """

    index: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.index == 0

    def share(self, whole: Tensor) -> Tensor:
        """This process's rows of a tensor [B, ...] that is the same in all: [B / count, ...]."""
        size = len(whole) // self.count
        return whole[self.index * size : (self.index + 1) * size]

    def gather(self, part: Tensor) -> Tensor:
        """The rows of all processes in order, [b, ...] -> [b * count, ...]; all must call it."""
        if self.count == 1:
            return part
        # As bytes: not every backend knows every type.
        raw = part.detach().contiguous().view(len(part), -1).view(torch.uint8)
        whole = raw.new_empty((len(raw) * self.count, raw.shape[1]))
        dist.all_gather_single(whole, raw)
        return whole.view(part.dtype).view(-1, *part.shape[1:])

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes; all must call it."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    @contextlib.contextmanager
    def one_a_machine_first(self) -> Iterator[None]:
        """The block runs in one process of each machine first, then in the others: what is cached is made once."""
        if self.count > 1 and self.local:
            dist.barrier()
        yield
        if self.count > 1 and not self.local:
            dist.barrier()


def device_for(name: str, ranks: Ranks) -> torch.device:
    """The device of this process: the CPU, or the GPU with this process's number on its machine.

    Raises:
        CannotRunHere: the name is cuda, and PyTorch sees no GPU, or fewer than there are processes here.
    """
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if ranks.local >= count:
        wanted = f"process {ranks.local} of this machine needs GPU {ranks.local}" if ranks.count > 1 else "it needs one"
        raise CannotRunHere(
            f"the training device is cuda, PyTorch {torch.__version__} sees {count} GPUs here, and {wanted}",
            hint="add --device cpu, or type: trm-deploy doctor",
        )
    device = torch.device("cuda", ranks.local)
    torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, on gloo for a CPU and NCCL for GPUs; alone without torchrun."""
    if not dist.is_torchelastic_launched():
        yield Ranks()
        return
    ranks = Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    device_for(device, ranks)  # refuses before it waits for the others
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def leave(ranks: Ranks) -> None:
    """End this process, with exit code 0, where others train with it; one alone returns. All must call it.

    All files are written by then. Without this, PyTorch 2.13 with gloo ends one process in ten by std::terminate while
    it clears up its threads, and torchrun reports a failed run.
    """
    if ranks.count > 1:
        dist.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
