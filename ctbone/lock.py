"""One process at a time on a fold or a case: lock files that name their holder.

A lock is a file that only one process can create (``O_EXCL``), which holds on network file systems
too, where ``flock`` may not. Its holder touches it regularly, so that a lock whose holder was
killed is recognised, on this machine by the process, on others by the age of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from ctbone.errors import LockError, StudyError

_HEARTBEAT = 30.0
"""Seconds between two touches of a lock by its holder."""
_SILENT = 600.0
"""Seconds without a touch after which a lock of another machine is taken over: 20 heartbeats."""
_UNNAMED = 60.0
"""Seconds after which an empty lock is stale: its holder was killed before it wrote its name."""
_POLL = 0.5
"""Seconds between two attempts while waiting for a lock."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes
    ----------
    host
        Name of its machine.
    machine
        Hash of the machine and its container, within which process numbers are unique.
    process
        Its process number.
    started
        When it started, as the system counts; "" where the system does not tell. With it a process
        that reuses the number is another one.
    since
        Local date and time at which it took the lock.
    token
        Random; no two locks share one.
    """

    host: str
    machine: str
    process: int
    started: str
    since: str
    token: str

    def __str__(self) -> str:
        return f"host {self.host}, process {self.process}, since {self.since}"


@contextmanager
def locked(path: Path, work: str, *, remedy: str, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock during the block.

    A stale lock is taken over: its process does not run any more, or, on another machine, has not
    touched it for 10 minutes.

    Parameters
    ----------
    path
        The lock file; its folder is made if needed.
    work
        What only one process may do, for the message, such as ``fold 0 of model 3d is trained``.
    remedy
        What to do where another process holds the lock.
    wait
        Seconds to wait for the other process.

    Raises
    ------
    LockError
        Another process holds the lock; the message names its host, its number and the time.
    StudyError
        The folder cannot be written.
    """
    ours = _ourselves()
    end = time.monotonic() + wait
    while not _taken(path, ours):
        holder = _holder(path)
        if _stale(path, holder):
            _remove_stale(path, holder)
        elif time.monotonic() >= end:
            raise LockError(
                f"{work} by another process",
                file=path,
                found=str(holder) if holder else "a holder that did not write its name",
                remedy=remedy,
            )
        else:
            time.sleep(_POLL)
    done = threading.Event()
    touching = threading.Thread(target=_touch, args=(path, done), name="heartbeat", daemon=True)
    touching.start()
    try:
        yield
    finally:
        done.set()
        touching.join()
        if _holder(path) == ours:  # not where another machine took it over from a suspended process
            with suppress(OSError):
                path.unlink()


def remove_stale_lock(path: Path) -> None:
    """Remove a lock that a killed process left where the work is done and nothing is to be held."""
    if path.exists() and _stale(path, holder := _holder(path)):
        _remove_stale(path, holder)


def _ourselves() -> Holder:
    return Holder(
        host=platform.node(),
        machine=machine(),
        process=os.getpid(),
        started=_start_of(os.getpid()),
        since=f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        token=secrets.token_hex(8),
    )


def _taken(path: Path, ours: Holder) -> bool:
    """Create the lock; False where it exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(ours)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    except OSError as error:
        remedy = "check the folder, its permissions and the space on the disk"
        raise StudyError(f"cannot write: {error.strerror}", file=path, remedy=remedy) from error
    return True


def _holder(path: Path) -> Holder | None:
    """Read the holder; None where the lock is gone, or its holder did not write its name yet."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _stale(path: Path, holder: Holder | None) -> bool:
    if holder is not None and holder.machine == machine() and os.name == "posix":
        same = _start_of(holder.process) == holder.started
        return not (alive(holder.process) and same)
    return _silence(path) > (_SILENT if holder else _UNNAMED)


def _silence(path: Path) -> float:
    """Seconds since the last touch, by the clock of the file system; 0 where the lock is gone."""
    probe = path.with_name(f"{path.name}.clock-{secrets.token_hex(4)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _remove_stale(path: Path, holder: Holder | None) -> None:
    """Remove a stale lock, but never one that another process made in its place meanwhile.

    Only the process that creates a further file, named after the stale lock, may remove it. That
    file is there for milliseconds; one that a killed process left is removed after 10 minutes.
    """
    claim = path.with_name(f"{path.name}.{holder.token if holder else 'unnamed'}")
    try:
        claim.open("x").close()
    except FileExistsError:
        if _silence(claim) > _SILENT:
            claim.unlink(missing_ok=True)
        time.sleep(_POLL)
        return
    try:
        if _holder(path) == holder and _stale(path, holder):
            path.unlink(missing_ok=True)
    finally:
        claim.unlink(missing_ok=True)


def _touch(path: Path, done: threading.Event) -> None:
    while not done.wait(_HEARTBEAT):
        with suppress(OSError):
            os.utime(path)


def _start_of(process: int) -> str:
    """When a process started: the boot, and clock ticks since it; "" without Linux's /proc."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    # Fields 3 (state: Z and X are dead processes) and 22 (starttime); the first two are cut off.
    return "" if fields[0] in "ZX" else f"{boot} {fields[19]}"


@cache
def machine() -> str:
    """Return a hash of the machine and its container: process numbers are unique within both."""
    container = ""
    with suppress(OSError):
        container = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


def alive(process: int) -> bool:
    """Whether a process of this machine runs; POSIX only."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
