"""Timing on a shared machine: alternating contenders, medians of paired ratios, own processes."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def take_turns(
    contenders: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each contender, one a round; a first round warms caches, uncounted.

    What one leaves in the disk's queue is written out, untimed, before the next begins.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        order = list(contenders) if round_ % 2 else list(contenders)[::-1]
        for name in order:
            os.sync()
            started = time.perf_counter()
            contenders[name]()
            if round_:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def paired_ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over the rounds of our time by theirs: both met the same load."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def added_memory(script: Path, *arguments: str) -> float:
    """Run a script that ends in ``print_added_memory`` and return its MiB."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1])["added_mib"])


def print_added_memory(work: Callable[[], object]) -> None:
    """Run ``work`` and print how far its peak lay above what the process held before, in MiB.

    Where the work is done by a child process, its own peak counts.
    """
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    work()
    added = _status("VmHWM") - before
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"added_mib": max(added, children) / 1024}))


def machine() -> str:
    """Say what this was measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return (
        f"{os.cpu_count()} cores of {cpu}, {platform.system()}, Python {platform.python_version()}"
    )


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
