"""Batch normalisation over the samples of all processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Total(torch.autograd.Function):
    """The sum over the processes; so is its gradient, since every process's loss depends on it."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation whose statistics are those of the samples of all processes.

    The same as PyTorch's ``SyncBatchNorm``, which computes on GPUs only. A process may come without any sample.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        pass

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Normalise (batch, channels, …) in fp32, and give the result the type of what came in."""
        if not self.training:
            return super().forward(seen)
        values = seen.float()
        axes = [axis for axis in range(values.dim()) if axis != 1]
        number = values.new_tensor([values.numel() / values.shape[1]])
        sums = _Total.apply(torch.cat([values.sum(axes), number]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        shape = (1, -1, *[1] * (values.dim() - 2))
        centred = values - mean.reshape(shape)
        variance = _Total.apply(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.reshape(shape) + self.bias.reshape(shape)).to(seen.dtype)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_batch_statistics(network: nn.Module) -> nn.Module:
    """Replace every batch normalisation, tensors and their names kept: PyTorch's own on GPUs, ours elsewhere."""
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    _replace_children(network)
    return network


def _replace_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        usual = (
            isinstance(child, _BatchNorm)
            and child.affine
            and child.track_running_stats
            and child.momentum
        )
        if usual and not isinstance(child, SharedBatchNorm):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared.train(child.training))
        else:
            _replace_children(child)
