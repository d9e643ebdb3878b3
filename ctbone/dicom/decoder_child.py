"""Decode compressed pixels in a child process; runs as a script that imports nothing of ctbone.

A request is a line of JSON with ``path``, ``frames``, a list of numbers, or null for a file with
one frame, and ``seconds``, after which the process ends: it must not outlive a parent that was
killed and can no longer end a codec that hangs. The reply to each frame is a line of JSON with
``shape`` and ``dtype``, followed by the bytes, or a line with ``error``, the class of the error.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom import config as pydicom_config
from pydicom.pixels import iter_pixels

# Limit of the address space, bytes.
_MEMORY = 6 << 30


def main() -> None:
    """Reply to requests until stdin is closed."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # codecs print to stdout: send that to stderr, away from the replies
    _limit_memory()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    for line in sys.stdin.buffer:
        try:
            request = json.loads(line)
            _end_after(request.pop("seconds"))
            for pixels in _decoded(**request):
                header = {"shape": pixels.shape, "dtype": pixels.dtype.str}
                replies.write(json.dumps(header).encode() + b"\n")
                replies.write(np.ascontiguousarray(pixels).data.cast("B"))
        except BaseException as error:  # a panic in a Rust codec is not an Exception
            replies.write(json.dumps({"error": type(error).__name__}).encode() + b"\n")
        replies.flush()
        _end_after(0)


def _decoded(path: str, frames: list[int] | None) -> Iterator[np.ndarray]:
    dataset = pydicom.dcmread(path, force=True)
    yield from iter_pixels(dataset, indices=frames)


def _end_after(seconds: int) -> None:
    """Let the system end the process after this many seconds, even inside a codec; 0: never."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(seconds)


def _limit_memory() -> None:
    """Limit the memory, because a damaged stream may claim a huge image."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = _MEMORY if hard == resource.RLIM_INFINITY else min(hard, _MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, OSError, ValueError):  # not supported on this system
        return


if __name__ == "__main__":
    main()
