"""Decode compressed pixels in child processes, which isolate crashes of the codecs.

Codecs are written in C, C++ and Rust: on damaged streams they may abort, hang, exhaust the memory
or print to the terminal. A child process contains all of that, and several children decode several
files in parallel without the interpreter's lock. All children of a process share one budget of
memory: a request waits until what it may need is free.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
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


# Memory of a request, bytes: codecs need up to this many bytes a pixel (OpenJPEG: two copies of
# four bytes, wavelet buffers, and the output), copies of the file, and buffers of their own.
_BYTES_PER_PIXEL = 32
_COPIES_OF_FILE = 3
_OWN_BUFFERS = 128 << 20
# Smallest budget of a process, bytes.
_LEAST_BUDGET = 512 << 20


class DecodingError(Exception):
    """The codec failed: the kind of the error, and numbers.

    It never holds the text of the codec's own error, which may quote the header.
    """

    def __init__(self, kind: str, found: str = "") -> None:
        super().__init__(kind)
        self.found = found


def decode(path: Path, frames: Sequence[int] | None, pixels: int) -> Iterator[np.ndarray]:
    """Decode frames of a compressed file.

    Parameters
    ----------
    path
        The file.
    frames
        Frame numbers from 0; None for a file with one frame.
    pixels
        Pixels of a frame, by the header; they decide how much memory the codec may take.

    Yields
    ------
    numpy.ndarray
        (rows, columns), the values of the stream: neither masked nor sign-extended to BitsStored.

    Raises
    ------
    DecodingError
        The stream is damaged or has another size than the header says, no codec supports it, or
        the codec crashed, hung or needed too much memory.
    """
    memory = _memory_of(path, pixels)
    with _budget.reserved(memory):
        yield from _decode(path, frames, memory)


def _memory_of(path: Path, pixels: int) -> int:
    return _OWN_BUFFERS + _BYTES_PER_PIXEL * pixels + _COPIES_OF_FILE * path.stat().st_size


def _decode(path: Path, frames: Sequence[int] | None, memory: int) -> Iterator[np.ndarray]:
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
                    "memory": memory,
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
        raise DecodingError(str(reply["error"]), str(reply.get("found", "")))
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


class _Budget:
    """Memory that all children of this process may take together."""

    def __init__(self) -> None:
        self._whole = self._free = -1  # not known yet
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Wait until ``size`` bytes are free, and take them."""
        with self._changed:
            if self._whole < 0:
                self._free = self._whole = _share_of_memory()
            if size > self._whole:
                raise DecodingError("Budget", f"{size >> 20} of {self._whole >> 20}")
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


def _share_of_memory() -> int:
    """Return half of the machine's memory; in a worker process, its share of that half."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # the system does not tell
        whole = 4 << 30
    workers = 1 if multiprocessing.parent_process() is None else os.cpu_count() or 1
    return max(whole // workers, _LEAST_BUDGET)


_budget = _Budget()
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
    # One thread each: threads of numerical libraries would take address space.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
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
    global _idle, _budget
    _idle, _budget = queue.SimpleQueue(), _Budget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
