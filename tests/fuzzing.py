"""Run damaged inputs in a child process, and damage bytes: the parts that all fuzzers share."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctbone.errors import CtboneError

SECONDS = 20
"""An input that takes longer is a finding."""
GIGABYTES = 4
"""Address space of the child process."""
_LENGTHS = (b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\0\0\0\0", b"\1\0")
_NUMBERS = (
    b"nan",
    b"inf",
    b"-inf",
    b"1e308",
    b"-0",
    b"0",
    b"1e-300",
    b"\\\\",
    b"99999999999",
    b"\xe4\xb8",
)
Attempt = Callable[[np.random.Generator], str]
"""Draw an input and try it; the answer describes a failure, or is empty."""


@dataclass(frozen=True)
class Finding:
    """An input that ended in neither a result nor an error of ctbone."""

    number: int
    what: str


def fuzz(prepare: Callable[[Path], Attempt], count: int, seed: int) -> list[Finding]:
    """Try ``count`` inputs in a child process; if it dies, a new one continues.

    ``prepare`` gets an empty folder, and is called in the child.
    """
    findings: list[Finding] = []
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    at = 0
    while at < count:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(theirs, prepare, at, count, seed))
        child.start()
        theirs.close()
        try:
            while at < count:
                at, what = ours.recv()
                if what:
                    findings.append(Finding(at, what))
                at += 1
        except EOFError:
            child.join()
            findings.append(Finding(at, f"the process died: {child.exitcode}"))
            at += 1
        child.join()
    return findings


def outcome(work: Callable[[], object]) -> str:
    """Return how some work failed; empty where it ended, or in an error of ctbone."""
    started = time.perf_counter()
    try:
        work()
    except CtboneError:
        pass
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    taken = time.perf_counter() - started
    return f"took {taken:.1f} s" if taken > SECONDS else ""


def damaged(content: bytes, other: bytes, rng: np.random.Generator, first: int = 0) -> bytes:
    """Damage a file in one to eight places from byte ``first`` on, some with bytes of another."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(first, max(len(data), first + 1)))
        long = int(rng.integers(1, 64))
        match int(rng.integers(9)):
            case 0:
                data[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                data[at : at + long] = rng.bytes(long)
            case 2:
                del data[at : at + long]
            case 3:
                data[at:at] = data[at : at + long]
            case 4:
                length = _LENGTHS[rng.integers(len(_LENGTHS))]
                data[at : at + len(length)] = length
            case 5:
                number = _NUMBERS[rng.integers(len(_NUMBERS))]
                data[at : at + len(number)] = number
            case 6:
                data[at : at + 8 * long] = other[at : at + 8 * long]
            case 7:
                if rng.random() < 0.3:
                    del data[at:]
            case _:
                # Replace one digit of any value.
                digits = [k for k in range(first, len(data)) if 48 <= data[k] < 58]
                if digits:
                    data[digits[int(rng.integers(len(digits)))]] = int(rng.integers(45, 70))
    return bytes(data)


def _work(pipe, prepare, first: int, count: int, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
    with tempfile.TemporaryDirectory() as folder:
        attempt = prepare(Path(folder))
        for number in range(first, count):
            rng = np.random.default_rng([seed, number])
            signal.alarm(3 * SECONDS)
            pipe.send((number, attempt(rng)))
