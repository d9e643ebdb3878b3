"""Several processes on one training: their ranks, their share of each batch, and sums over them.

They are started from outside, by ``torchrun`` or Slurm's ``srun``, and joined by Lightning Fabric.
Together they compute what one process would: each batch is split between them, and its batch
statistics and gradients are those of the whole batch.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from ctbone.errors import TrainingError
from ctbone.models.batch_norm import make_batch_norm_exact


@dataclass(frozen=True)
class Ranks:
    """The processes that train together.

    Attributes
    ----------
    rank, count
        Rank of this process and number of processes.
    local
        Rank on its own machine, which is the number of its GPU.
    fabric
        Lightning Fabric; None for a single process.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    fabric: Any = None

    @property
    def writes(self) -> bool:
        """Whether this is rank 0, which writes the files and shows the progress."""
        return self.rank == 0

    def share(self, part: slice) -> slice:
        """Return this process's share of a part of an epoch's order; shares differ by one at most.

        Examples
        --------
        >>> Ranks(rank=1, count=3).share(slice(20, 40))
        slice(27, 34, None)
        """
        size = part.stop - part.start
        return slice(
            part.start + -(-size * self.rank // self.count),
            part.start + -(-size * (self.rank + 1) // self.count),
        )

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network to call in training: it averages gradients over the processes."""
        if self.fabric is None:
            return network
        wrapped = self.fabric.setup_module(network)
        if self.fabric.device.type == "cuda":
            # Fabric sends the first weights on a stream of its own.
            torch.cuda.synchronize(self.fabric.device)
        return wrapped

    def share_batch_norm(self, network: nn.Module) -> nn.Module:
        """Make batch statistics those of the whole batch; the names of the tensors stay."""
        return network if self.fabric is None else share_batch_norm(network)

    def no_gradient_sync(self, wrapped: nn.Module, *, enabled: bool) -> AbstractContextManager:
        """Return a context that, if enabled, accumulates gradients without exchanging them."""
        if self.fabric is None:
            return contextlib.nullcontext()
        return self.fabric.no_backward_sync(wrapped, enabled=enabled)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the processes."""
        if self.fabric is not None:
            values = values.to(self.fabric.device)
            distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait for the other processes (barrier)."""
        if self.fabric is not None:
            self.fabric.barrier()

    @contextlib.contextmanager
    def rank_0_first(self) -> Iterator[None]:
        """Run the block in rank 0 before the other processes."""
        if not self.writes:
            self.wait()
        try:
            yield
        finally:
            if self.writes:
                self.wait()


@functools.cache
def join_ranks() -> Ranks:
    """Join the processes that ``torchrun`` or ``srun`` started; one process if neither did.

    The backend is NCCL on GPUs and Gloo on processors.

    Raises
    ------
    TrainingError
        A process sees fewer GPUs than there are processes on its machine.
    """
    count, nodes = _processes_and_machines()
    if count == 1:
        return Ranks()
    from lightning_fabric import Fabric

    accelerator, here = "cuda" if torch.cuda.is_available() else "cpu", count // nodes
    if accelerator == "cuda" and torch.cuda.device_count() < here:
        raise TrainingError(
            "there are more processes than visible GPUs",
            found=f"{here} processes on a machine, {torch.cuda.device_count()} GPUs",
            expected="one GPU for each process",
            remedy="make all GPUs of the machine visible to every process "
            "(Slurm: --gpus-per-node, not --gpus-per-task)",
        )
    fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Ranks(
        rank=fabric.global_rank,
        count=fabric.world_size,
        local=fabric.local_rank,
        fabric=fabric,
    )


def is_rank_0() -> bool:
    """Whether this is rank 0, or the only process."""
    alone = _processes_and_machines()[0] == 1
    return int(os.environ.get("RANK", "0" if alone else os.environ.get("SLURM_PROCID", "0"))) == 0


def _processes_and_machines() -> tuple[int, int]:
    """Return how many processes were started together, and on how many machines."""
    environment = os.environ
    if distributed.is_available() and distributed.is_torchelastic_launched():
        count = int(environment["WORLD_SIZE"])
        return count, count // int(environment["LOCAL_WORLD_SIZE"])
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        machines = environment.get("SLURM_STEP_NUM_NODES", "1")
        return int(environment["SLURM_STEP_NUM_TASKS"]), int(machines)
    return 1, 1


def share_batch_norm(network: nn.Module) -> nn.Module:
    """Replace every batch normalization, keeping its tensors and their names.

    On GPUs by PyTorch's ``SyncBatchNorm``, elsewhere by ``ExactBatchNorm``. A process may have no
    sample.
    """
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    make_batch_norm_exact(network, distributed.all_reduce)
    return network
