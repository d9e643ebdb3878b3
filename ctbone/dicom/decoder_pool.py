"""Compressed pixels, decoded by processes of their own: a damaged stream can end these, and never a cohort's run.

Codecs are C, C++ and Rust: on hostile streams they abort, hang, take all memory, or print on the terminal. In a child
none of that matters, and several children decode several files at once, which one interpreter's lock would forbid.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

import numpy as np

_SCRIPT = Path(__file__).with_name("decoder_child.py")
_SECONDS = 120.0
_MOST_BYTES = 2**31
_DTYPES = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4")


class DecodingError(Exception):
    """The codec failed; holds the kind of its error, never its text, which may quote the header."""


def decode(path: Path, frames: Sequence[int] | None) -> Iterator[np.ndarray]:
    """Decode frames of a compressed file.

    Parameters
    ----------
    path
        The file.
    frames
        Their numbers, from 0; None for a file of one frame.

    Yields
    ------
    numpy.ndarray
        (rows, columns), as stored.

    Raises
    ------
    DecodingError
        The stream is damaged, no codec reads it, or its codec crashed, hung or wanted too much memory.
    """
    child = _take()
    whole = False
    watch = threading.Timer(_SECONDS + len(frames or ()), child.kill)
    watch.daemon = True
    watch.start()
    try:
        out, back = _pipes(child)
        out.write(
            json.dumps(
                {"path": str(path), "frames": None if frames is None else list(frames)}
            ).encode()
            + b"\n"
        )
        out.flush()
        for _ in range(1 if frames is None else len(frames)):
            yield _answer(back)
        whole = True
    except (OSError, ValueError, KeyError, TypeError):
        raise DecodingError("crash") from None
    finally:
        watch.cancel()
        if whole and child.poll() is None:
            _idle.put(child)
        else:
            _end(child)


def _answer(back: BufferedIOBase) -> np.ndarray:
    told = json.loads(back.readline())
    if "error" in told:
        raise DecodingError(str(told["error"]))
    shape, dtype = tuple(int(n) for n in told["shape"]), told["dtype"]
    if len(shape) != 2 or min(shape) < 1 or dtype not in _DTYPES:
        raise DecodingError("ValueError")
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    if size > _MOST_BYTES:
        raise DecodingError("MemoryError")
    content = bytearray(size)
    view, filled = memoryview(content), 0
    while filled < size:
        got = back.readinto(view[filled:])
        if not got:
            raise DecodingError("crash")
        filled += got
    return np.frombuffer(content, dtype).reshape(shape)


_idle: queue.SimpleQueue[subprocess.Popen] = queue.SimpleQueue()


def _take() -> subprocess.Popen:
    """Return a child that waits for work, or start one: its imports are paid once, not once a series."""
    with contextlib.suppress(queue.Empty):
        while True:
            child = _idle.get_nowait()
            if child.poll() is None:
                return child
            _end(child)
    # -P: modules beside the script must not stand in for those of the same name elsewhere.
    command = [sys.executable, "-P", str(_SCRIPT)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _pipes(child: subprocess.Popen) -> tuple[Any, BufferedIOBase]:
    return child.stdin, cast(BufferedIOBase, child.stdout)


def _end(child: subprocess.Popen) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()


def _forget() -> None:
    """Leave the children to the process that started them: a fork would talk over the same pipes."""
    global _idle
    _idle = queue.SimpleQueue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
