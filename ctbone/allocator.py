"""How the C library keeps memory that is freed and soon asked for again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MIB = 1 << 20
_OLD_MOST = 32 * _MIB
_NEVER = -1


def keep_blocks(largest: int, together: int | None) -> None:
    """Let glibc keep the blocks that every step, or every case, frees and asks for again.

    By default large ones go back to the kernel each time and return as pages that must be zeroed anew. A 3D training
    step takes about half the time without that, preprocessing on a Dask worker too: Dask has its workers give
    everything back at once. Other C libraries are left alone.

    Parameters
    ----------
    largest
        MiB of the largest block that is kept.
    together
        MiB that are kept before any go back; None: none goes back while the process lives.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    if not mallopt(_M_MMAP_THRESHOLD, largest * _MIB):
        mallopt(_M_MMAP_THRESHOLD, _OLD_MOST)  # the most that older versions take
    mallopt(_M_TRIM_THRESHOLD, _NEVER if together is None else together * _MIB)
