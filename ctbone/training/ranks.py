"""Several processes on one fold: who they are, what of a batch each takes, and how their sums become one.

They are started from outside, by ``torchrun`` or Slurm's ``srun``, and joined by Lightning Fabric. Together they do
what one process would: a batch is split between them, batch statistics and gradients are those of the whole batch.
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
from torch import nn

from ctbone.errors import TrainingError
from ctbone.training.shared_norm import share_batch_statistics


@dataclass(frozen=True)
class Ranks:
    """The processes that train together.

    Attributes
    ----------
    rank, count
        Which of how many this one is.
    local
        Which it is on its own machine; it takes the GPU of that number.
    fabric
        What joins them; None where there is one alone.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    fabric: Any = None

    @property
    def writes(self) -> bool:
        """Whether this process writes the files and tells how far the work is."""
        return self.rank == 0

    def share(self, part: slice) -> slice:
        """Return what of a part of an epoch's order this process takes; the parts' sizes differ by one at most.

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
        """Return the network as it is trained: its gradients, after a step, are the mean over the processes."""
        if self.fabric is None:
            return network
        wrapped = self.fabric.setup_module(network)
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize(
                self.fabric.device
            )  # it sends the first weights on a stream of its own
        return wrapped

    def unify(self, network: nn.Module) -> nn.Module:
        """Let the network's batch statistics be those of the whole batch; the names of its tensors stay."""
        return network if self.fabric is None else share_batch_statistics(network)

    def holding_gradients(self, wrapped: nn.Module, hold: bool) -> AbstractContextManager:
        """Return a context in which gradients are gathered, but not yet exchanged, if ``hold``."""
        if self.fabric is None:
            return contextlib.nullcontext()
        return self.fabric.no_backward_sync(wrapped, enabled=hold)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the processes."""
        if self.fabric is not None:
            values = values.to(self.fabric.device)
            torch.distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until all are here."""
        if self.fabric is not None:
            self.fabric.barrier()

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Let the one that writes go through the block before the others."""
        if not self.writes:
            self.wait()
        try:
            yield
        finally:
            if self.writes:
                self.wait()


@functools.cache
def join_ranks() -> Ranks:
    """Join the processes that ``torchrun`` or ``srun`` started; alone where neither did.

    On GPUs they talk by NCCL, on processors by Gloo.

    Raises
    ------
    TrainingError
        A process does not see one GPU for each process on its machine.
    """
    count, nodes = _started()
    if count == 1:
        return Ranks()
    from lightning_fabric import Fabric

    accelerator, here = "cuda" if torch.cuda.is_available() else "cpu", count // nodes
    if accelerator == "cuda" and torch.cuda.device_count() < here:
        raise TrainingError(
            "there are more processes than GPUs that one of them sees",
            found=f"{here} processes on a machine, {torch.cuda.device_count()} GPUs",
            expected="one GPU for each",
            remedy="let every process see all GPUs of its machine (Slurm: --gpus-per-node, not --gpus-per-task)",
        )
    fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Ranks(fabric.global_rank, fabric.world_size, fabric.local_rank, fabric)


def is_first_rank() -> bool:
    """Whether this process speaks for those that were started with it."""
    return (
        int(
            os.environ.get(
                "RANK", os.environ.get("SLURM_PROCID", "0") if _started()[0] > 1 else "0"
            )
        )
        == 0
    )


def _started() -> tuple[int, int]:
    """Return how many processes were started together, on how many machines."""
    environment = os.environ
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        count = int(environment["WORLD_SIZE"])
        return count, count // int(environment["LOCAL_WORLD_SIZE"])
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        return int(environment["SLURM_STEP_NUM_TASKS"]), int(
            environment.get("SLURM_STEP_NUM_NODES", "1")
        )
    return 1, 1
