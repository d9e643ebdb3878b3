"""Settings of the C library's memory allocator (glibc's ``mallopt``)."""

from __future__ import annotations

import ctypes
import sys

# Parameter numbers of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MIB = 1 << 20
# The largest M_MMAP_THRESHOLD that older versions of glibc accept on 64-bit machines.
_OLD_MOST = 32 * _MIB
# M_TRIM_THRESHOLD of -1 turns trimming off.
_NEVER = -1


def keep_blocks(largest: int, together: int | None) -> None:
    """Let glibc keep freed memory blocks for reuse.

    By default glibc returns large blocks to the kernel when they are freed, and the kernel zeroes
    the pages again at the next request. A 3D training step takes about half the time without
    that, and so does preprocessing on a Dask worker, because Dask makes its workers return memory
    at once. Other C libraries are left alone.

    Parameters
    ----------
    largest
        Size of the largest block that is kept, in MiB.
    together
        Total size that is kept, in MiB; None keeps everything while the process lives.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    if not mallopt(_M_MMAP_THRESHOLD, largest * _MIB):
        mallopt(_M_MMAP_THRESHOLD, _OLD_MOST)
    mallopt(_M_TRIM_THRESHOLD, _NEVER if together is None else together * _MIB)
