"""Every measurement that a GPU is needed for, unattended, most important first.

The page is written after each step, so that it is complete up to the step that is interrupted. A
step that fails or takes too long stops no other. In another environment with ctbone's
dependencies: PYTHONPATH=. python scripts/benchmarks/gpu.py
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MINUTES = 25.0
"""Of all steps together; a step that does not fit any more is left out."""


@dataclass(frozen=True)
class Step:
    """One measurement: a script with its options, and how long it may take."""

    title: str
    arguments: tuple[str, ...]
    minutes: float


STEPS = (
    Step("This machine", ("gpu.py", "--part", "machine"), 1),
    Step("Arithmetic of every layer against float64", ("gpu.py", "--part", "arithmetic"), 2),
    Step("Training at 96³", ("train.py", "--sizes", "96", "--rounds", "3"), 5),
    Step("Five folds, two epochs", ("train.py", "--protocol", "2"), 4),
    Step("Profile of steps at 96³", ("gpu.py", "--part", "profile"), 2),
    Step("Five folds at once, two epochs", ("train.py", "--protocol", "2", "--at-once", "5"), 4),
    Step("bf16 compared with fp32", ("precision.py", "--seeds", "10"), 4),
    Step("Training at 48³", ("train.py", "--sizes", "48", "--rounds", "3"), 3),
)
QUICK = (
    STEPS[0],
    Step("Arithmetic", ("gpu.py", "--part", "arithmetic", "--size", "32"), 2),
    Step("Training at 32³", ("train.py", "--quick"), 5),
    Step("Profile at 32³", ("gpu.py", "--part", "profile", "--size", "32", "--batch", "4"), 2),
)
"""The same parts where there is no GPU: do they run?"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu.md"), help="page to write")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--quick", action="store_true", help="small, also without a GPU")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=96, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=20, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        PARTS[options.part](options.size, options.batch)
        return
    failed = run(QUICK if options.quick else STEPS, options.out, options.minutes * 60)
    print(f"Wrote {options.out}")
    sys.exit(1 if failed else 0)


def run(steps: Sequence[Step], out: Path, budget: float) -> int:
    """Run the steps in order and write the page after each; return how many did not end well."""
    began, failed = time.monotonic(), 0
    out.write_text("# Measured on a GPU\n")
    for step in steps:
        left = budget - (time.monotonic() - began)
        state, text = "left out: no time is left", ""
        if left > 0:
            print(f"{step.title} …", flush=True)
            started = time.monotonic()
            code, text = bounded(step, min(step.minutes * 60, left))
            state = f"{time.monotonic() - started:.0f} s" + (f"; {code}" if code else "")
        failed += state.startswith("left out") or ";" in state
        command = " ".join(("scripts/bench", step.arguments[0][:-3], *step.arguments[1:]))
        with out.open("a") as page:
            page.write(f"\n## {step.title}\n\n    {command}\n\n{state}\n\n{text.strip()}\n")
            page.flush()
            os.fsync(page.fileno())
    return failed


def bounded(step: Step, seconds: float) -> tuple[str, str]:
    """Run a step with its children; return what went wrong, empty if nothing, and its output."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, HERE / step.arguments[0], *step.arguments[1:]],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            problem = f"exit code {code}" if (code := process.wait(seconds)) else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            problem = f"stopped after {seconds:.0f} s"
        output.seek(0)
        return problem, output.read()[-20_000:]


def show_machine(size: int, batch: int) -> None:
    """Print the GPU, its driver and the versions."""
    import torch
    from timing import machine

    print(machine())
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, Python {sys.version.split()[0]}")
    if torch.cuda.is_available():
        print(f"cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_properties(0)}")
    else:
        print("no GPU")


def check_layers(size: int, batch: int) -> None:
    """Check every layer of a 3D DenseNet121 in fp32 and, where the device has it, in bf16."""
    from ctbone.config import ModelSettings, TrainingSettings
    from ctbone.models.arithmetic import check_arithmetic
    from ctbone.models.hardware import choose_hardware, computes_in_bf16
    from ctbone.models.networks import build_network

    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()  # nothing is remembered from before
    precisions = ["fp32"]
    if computes_in_bf16(choose_hardware(TrainingSettings()).device):
        precisions.append("bf16")
    for precision in precisions:
        settings = TrainingSettings(precision=precision)
        model = ModelSettings(dim="3d", network="densenet121", training=settings)
        hardware = choose_hardware(settings)
        network = hardware.place(build_network(model, 2, size=size, metadata=0, folder=None))
        began = time.perf_counter()
        faults = check_arithmetic(network, (1, size, size, size), hardware=hardware)
        seconds = time.perf_counter() - began
        print(f"{size}³ in {precision}: {len(faults)} faults, {seconds:.1f} s")
        for fault in faults:
            print(f"- {fault}; computed in {fault.way} instead")


def show_profile(size: int, batch: int) -> None:
    """Print the kernels that take most time in ten steps of training, and launches a step."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from train_parts.loops import ctbone_loop, settle
    from train_parts.study import write_study

    steps, gpu = 10, torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        cases = int(steps * batch / 0.6) + 20
        training = {"batch_size": batch}
        study = write_study(Path(folder) / "study", cases=cases, size=size, training=training)
        loop = ctbone_loop(study)
        loop.epoch(1, steps)  # warms up
        settle()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
        with profile(activities=activities) as found:
            began = time.perf_counter()
            loop.epoch(2, steps)
            settle()
            seconds = time.perf_counter() - began
    events = found.key_averages()
    launches = sum(event.count for event in events if "LaunchKernel" in event.key)
    print(f"{steps} steps of {batch} at {size}³: {seconds / steps * 1e3:.1f} ms a step")
    print(f"{launches / steps:.0f} launches a step\n")
    order = "self_cuda_time_total" if gpu else "self_cpu_time_total"
    print(events.table(sort_by=order, row_limit=25, max_name_column_width=60))


PARTS = {"machine": show_machine, "arithmetic": check_layers, "profile": show_profile}

if __name__ == "__main__":
    main()
