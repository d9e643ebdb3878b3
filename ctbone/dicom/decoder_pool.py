"""Decode compressed pixels in child processes, which isolate crashes of the codecs.

Codecs are written in C, C++ and Rust: on damaged streams they may abort, hang, exhaust the memory
or print to the terminal. A child process contains all of that, and several children decode several
files in parallel without the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import json
import math
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
# Time limit of a request, seconds; one more second for every frame.
_SECONDS = 120.0
# Size limit of one decoded frame, bytes.
_MOST_BYTES = 2**31
_DTYPES = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4")


class DecodingError(Exception):
    """The codec failed; holds the error's class only, because its text may quote the header."""


def decode(path: Path, frames: Sequence[int] | None) -> Iterator[np.ndarray]:
    """Decode frames of a compressed file.

    Parameters
    ----------
    path
        The file.
    frames
        Frame numbers from 0; None for a file with one frame.

    Yields
    ------
    numpy.ndarray
        (rows, columns), stored values.

    Raises
    ------
    DecodingError
        The stream is damaged, no codec supports it, or the codec crashed, hung or needed too much
        memory.
    """
    child = _idle_or_new_child()
    complete = False
    seconds = _SECONDS + len(frames or ())
    watch = threading.Timer(seconds, child.kill)
    watch.daemon = True
    watch.start()
    try:
        out, back = _pipes(child)
        out.write(
            json.dumps(
                {
                    "path": str(path),
                    "frames": None if frames is None else list(frames),
                    "seconds": math.ceil(seconds),
                }
            ).encode()
            + b"\n"
        )
        out.flush()
        for _ in range(1 if frames is None else len(frames)):
            yield _read_frame(back)
        complete = True
    except (OSError, ValueError, KeyError, TypeError):
        raise DecodingError("crash") from None
    finally:
        watch.cancel()
        if complete and child.poll() is None:
            _idle.put(child)
        else:
            _end(child)


def _read_frame(back: BufferedIOBase) -> np.ndarray:
    """Read one reply of the child; check it, because a crashing codec may write anything."""
    reply = json.loads(back.readline())
    if "error" in reply:
        raise DecodingError(str(reply["error"]))
    shape, dtype = tuple(int(n) for n in reply["shape"]), reply["dtype"]
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


def _idle_or_new_child() -> subprocess.Popen:
    """Return an idle child, or start one; children are reused because their imports are slow."""
    with contextlib.suppress(queue.Empty):
        while True:
            child = _idle.get_nowait()
            if child.poll() is None:
                return child
            _end(child)
    # -P: modules beside the script must not shadow others of the same name.
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
    """Forget the children after a fork: the parent process uses their pipes."""
    global _idle
    _idle = queue.SimpleQueue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
