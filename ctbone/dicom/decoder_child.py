"""Decode compressed pixels in a process of its own; run as a script, it knows nothing else of ctbone.

A request is a line of JSON: ``path`` and ``frames``, a list of numbers or null for a file of one frame. The answer to
each frame is a line of JSON, ``shape`` and ``dtype``, and the bytes; or a line with ``error``, the error's kind.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom import config as pydicom_config
from pydicom.pixels import iter_pixels

_MEMORY = 6 << 30


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # codecs print: that goes where the errors go, and our answers stay clean
    _limit_memory()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    for line in sys.stdin.buffer:
        try:
            for pixels in _decoded(**json.loads(line)):
                told = {"shape": pixels.shape, "dtype": pixels.dtype.str}
                answers.write(json.dumps(told).encode() + b"\n")
                answers.write(np.ascontiguousarray(pixels).data.cast("B"))
        except BaseException as error:  # one codec's panic is no Exception
            answers.write(json.dumps({"error": type(error).__name__}).encode() + b"\n")
        answers.flush()


def _decoded(path: str, frames: list[int] | None) -> Iterator[np.ndarray]:
    dataset = pydicom.dcmread(path, force=True)
    yield from iter_pixels(dataset, indices=frames)


def _limit_memory() -> None:
    """Keep a stream that claims a huge picture from taking the machine's memory."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = _MEMORY if hard == resource.RLIM_INFINITY else min(hard, _MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, OSError, ValueError):  # a system without such limits
        return


if __name__ == "__main__":
    main()
