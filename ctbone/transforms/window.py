"""``HounsfieldWindowd``: HU to the channels that a network sees."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.data import MetaTensor
from monai.transforms import MapTransform

from ctbone.config import WIDE, Window
from ctbone.errors import PreprocessError
from ctbone.models.network_input import network_input


class HounsfieldWindowd(MapTransform):
    """Map HU to 0–1, one channel a window: (1, …) to float32 (windows, …).

    A window maps its lower end, ``center - width / 2``, to 0 and its upper end to 1; values beyond
    are clipped. It is the rule by which ctbone's own networks see HU. It is not invertible.

    Parameters
    ----------
    keys
        Keys of tensors in HU with one channel.
    windows
        ``(center, width)`` in HU, or ``ctbone.config.Window``.
    allow_missing_keys
        Skip keys that are missing.

    Examples
    --------
    >>> import torch
    >>> hu = torch.tensor([[-1024, 0, 500, 3000]], dtype=torch.int16)
    >>> HounsfieldWindowd("image", windows=[(0, 2000), (40, 400)])({"image": hu})["image"]
    tensor([[0.0000, 0.5000, 0.7500, 1.0000],
            [0.0000, 0.4000, 1.0000, 1.0000]])
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        *,
        windows: Sequence[Window | tuple[float, float]] = (WIDE,),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.windows = tuple(
            window if isinstance(window, Window) else Window(center=window[0], width=window[1])
            for window in windows
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each tensor by its windows."""
        d = dict(data)
        for key in self.key_iterator(d):
            hu = d[key]
            if len(hu) != 1:
                raise PreprocessError(
                    f"'{key}' does not have one channel of HU", found=tuple(hu.shape)
                )
            plain = hu.as_tensor() if isinstance(hu, MetaTensor) else hu
            channels = network_input(plain, self.windows)[0].contiguous()
            if isinstance(hu, MetaTensor):
                channels = MetaTensor(channels).copy_meta_from(hu)
            d[key] = channels
        return d
