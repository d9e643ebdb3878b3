"""Batches of crops on the device: resident there, or streamed while it computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ctbone.models.crops import Crops

_SHARE = 0.25
"""Largest share of the GPU's free memory that the crops may take; the network needs the rest."""
_AHEAD = 3
"""Batches that are prepared while one is computed."""


@dataclass(frozen=True)
class Batch:
    """Some images on the device.

    Attributes
    ----------
    hu
        int16, (batch, …grid).
    mask
        uint8 0 and 1, the same shape; None where no mask is used.
    """

    hu: torch.Tensor
    mask: torch.Tensor | None


class BatchSource(Protocol):
    """Source of batches of images by number: case row × views + view.

    Attributes
    ----------
    views
        Images of a case.
    """

    views: int

    def batches(self, order: np.ndarray, parts: Sequence[slice]) -> Iterator[Batch]:
        """Yield the images ``order[part]`` of each part in turn, on the device."""


def batch_source(crops: Crops, device: torch.device) -> BatchSource:
    """Copy the crops to the device if they fit there beside a network, else stream them.

    On a processor nothing is copied.
    """
    if device.type == "cpu":
        return Resident(crops, device)
    needed = crops.images.nbytes + (0 if crops.masks is None else crops.masks.nbytes)
    torch.cuda.empty_cache()  # memory that an earlier fold left in PyTorch's cache is free too
    free, _ = torch.cuda.mem_get_info(device)
    return Resident(crops, device) if needed <= _SHARE * free else Streamed(crops, device)


class Resident:
    """All images are on the device; a batch is gathered there, and only an epoch's order is sent.

    Parameters
    ----------
    crops
        They are copied to the device.
    device
        The device of the batches.
    """

    def __init__(self, crops: Crops, device: torch.device) -> None:
        self.views = crops.images.shape[1]
        self._images = crops.images.to(device).flatten(0, 1)
        self._masks = None if crops.masks is None else crops.masks.to(device).flatten(0, 1)
        self._device = device

    def batches(self, order: np.ndarray, parts: Sequence[slice]) -> Iterator[Batch]:
        """Yield the images ``order[part]`` of each part in turn."""
        places = torch.from_numpy(order).to(self._device)
        for part in parts:
            rows = places[part]
            yield Batch(self._images[rows], None if self._masks is None else self._masks[rows])


class Streamed:
    """Images stay in memory or a memory-mapped file; a thread gathers and sends the next batches.

    On a GPU they go through pinned memory on a separate stream, so that copies overlap computing.

    Parameters
    ----------
    crops
        Crops of the cases.
    device
        The device of the batches.
    """

    def __init__(self, crops: Crops, device: torch.device) -> None:
        self.views = crops.images.shape[1]
        self._images = crops.images.flatten(0, 1)
        self._masks = None if crops.masks is None else crops.masks.flatten(0, 1)
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def batches(self, order: np.ndarray, parts: Sequence[slice]) -> Iterator[Batch]:
        """Yield the images ``order[part]`` of each part in turn."""
        waiting: deque[Future[Batch]] = deque()
        # Without the initializer the thread would use, and take memory on, the first GPU.
        with ThreadPoolExecutor(
            1, thread_name_prefix="crops", initializer=self._set_device
        ) as thread:
            try:
                for part in parts:
                    waiting.append(thread.submit(self._send, order[part]))
                    if len(waiting) > _AHEAD:
                        yield self._received(waiting.popleft().result())
                while waiting:
                    yield self._received(waiting.popleft().result())
            finally:
                for future in waiting:
                    future.cancel()

    def _set_device(self) -> None:
        if self._stream is not None:
            torch.cuda.set_device(self._device)

    def _send(self, samples: np.ndarray) -> Batch:
        rows = torch.from_numpy(samples)
        hu = self._gathered(self._images, rows)
        mask = None if self._masks is None else self._gathered(self._masks, rows)
        if self._stream is None:
            return Batch(hu, mask)
        with torch.cuda.stream(self._stream):
            sent = Batch(
                hu.to(self._device, non_blocking=True),
                None if mask is None else mask.to(self._device, non_blocking=True),
            )
        # This thread waits for the copy, not the thread that computes.
        self._stream.synchronize()
        return sent

    def _gathered(self, images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        pinned = self._stream is not None
        out = torch.empty((len(rows), *images.shape[1:]), dtype=images.dtype, pin_memory=pinned)
        return torch.index_select(images, 0, rows, out=out)

    def _received(self, batch: Batch) -> Batch:
        """Tell the allocator that the computing stream uses this memory too."""
        if self._stream is not None:
            for tensor in (batch.hu, batch.mask):
                if tensor is not None:
                    tensor.record_stream(torch.cuda.current_stream(self._device))
        return batch
