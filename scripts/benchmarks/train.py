"""3D training: ctbone against the loop of MONAI's tutorials, same network, crops and batches.

In another environment with ctbone's dependencies: PYTHONPATH=. python scripts/benchmarks/train.py
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import torch
from timing import machine, paired_ratio
from train_parts.floor import rates_of, work_of
from train_parts.loops import Contender, ctbone_loop, monai_loop, settle
from train_parts.study import write_study

from ctbone.config import TrainingSettings
from ctbone.models.hardware import choose_hardware
from ctbone.study import Study

OURS, USUAL, ONE = "ctbone", "MONAI, four transforms", "MONAI, one RandAffine"
GPU = torch.cuda.is_available()
GOALS = {48: 1.5, 96: 4.0 if GPU else 3.0}
AUGMENTATION_GOAL = 0.10
PATIENTS, EPOCHS, FOLDS, MINUTES = 514, 50, 5, 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[48, 96], help="edges of the cubes")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument(
        "--batches", type=int, default=30 if GPU else 2, help="batches of a timed epoch"
    )
    parser.add_argument("--rounds", type=int, default=3 if GPU else 1)
    parser.add_argument("--quick", action="store_true", help="32³, batch 4: does it run?")
    parser.add_argument(
        "--protocol",
        type=int,
        metavar="EPOCHS",
        help="all five folds of 514 patients, so many epochs",
    )
    parser.add_argument("--at-once", type=int, default=1, help="folds at once in --protocol")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.batch, options.batches, options.rounds = [32], 4, 2, 1
    if options.only:
        print(
            json.dumps(
                measure(contender(options.only, options.study), options.batches, options.batch)
            )
        )
        return
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "monai"))
    print(f"{machine()}; {torch.cuda.get_device_name() if GPU else 'no GPU'}; {libraries}\n")
    if options.protocol:
        sys.exit(0 if protocol(options.protocol, options.sizes[-1], options.at_once) else 1)
    met = [compare(size, options) for size in options.sizes]
    sys.exit(0 if all(met) else 1)


def compare(size: int, options: argparse.Namespace) -> bool:
    """Run the contenders in turn, each epoch in a new process; print the table of one size."""
    names = [
        OURS,
        *(f"{kind}, {workers} workers" for kind in (USUAL, ONE) for workers in (0, worker_count())),
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "study"
        cases = int(options.batches * options.batch / 0.6) + 20
        write_study(root, cases=cases, size=size, training={"batch_size": options.batch})
        runs: dict[str, list[dict]] = {name: [] for name in names}
        for round_ in range(options.rounds):
            for name in names if round_ % 2 else names[::-1]:
                runs[name].append(run_alone(name, root, options))
    hardware = choose_hardware(TrainingSettings())
    rates, work = rates_of(hardware), work_of(densenet, size)
    by_flops, by_bytes = rates.seconds(work, 2 if hardware.bf16 else 4)
    print(
        f"## {size}³, batch {options.batch}, epochs of {options.batches} batches, "
        f"{options.rounds} rounds\n"
    )
    precision = "bf16" if hardware.bf16 else "fp32"
    arithmetic = (
        f"{work.flops / 1e9:.1f} GFLOP "
        f"({by_flops * 1e3:.2f} ms at {rates.flops / 1e12:.3g} TFLOP/s, measured)"
    )
    traffic = (
        f"{work.elements / 1e6:.0f} M numbers "
        f"({by_bytes * 1e3:.2f} ms at {rates.bytes / 1e9:.0f} GB/s, measured)"
    )
    print(
        f"ctbone in {precision}, MONAI's loop in fp32. "
        f"A sample needs {arithmetic} and moves {traffic}.\n"
    )
    busy = "GPU busy" if GPU else "cores busy"
    print(
        f"| loop | ms a sample | samples/s | core ms a sample | {busy} | peak GiB "
        "| share of the floor | augmentation |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, rounds in runs.items():
        seconds = statistics.median(run["seconds"] for run in rounds)
        alone = statistics.median(run["augmentation"] or 0 for run in rounds)
        share = f"{alone / seconds:.1%}" if alone else ""
        row = [
            f"{seconds * 1e3:.1f}",
            f"{1 / seconds:.3g}",
            f"{statistics.median(r['work'] for r in rounds) * 1e3:.1f}",
        ]
        row += [f"{statistics.median(r['busy'] for r in rounds):.0%}"]
        row += [
            f"{max(r['peak'] for r in rounds):.1f}",
            f"{max(by_flops, by_bytes) / seconds:.0%}",
            share,
        ]
        print(f"| {name} | {' | '.join(row)} |")
    return goals(size, runs, max(by_flops, by_bytes))


def goals(size: int, runs: dict[str, list[dict]], floor: float) -> bool:
    ours = [run["seconds"] for run in runs[OURS]]
    augmentation = statistics.median(run["augmentation"] / run["seconds"] for run in runs[OURS])
    print("\n| comparison | median ratio of pairs | goal |  |\n|---|---|---|---|")
    met = True
    for kind in (USUAL, ONE):
        best = min(
            (name for name in runs if name.startswith(kind)),
            key=lambda name: runs[name][0]["seconds"],
        )
        ratio = 1 / paired_ratio(ours, [run["seconds"] for run in runs[best]])
        goal = GOALS.get(size) if kind == USUAL else None
        met &= goal is None or ratio >= goal
        told = f"≥ {goal}× | {'met' if ratio >= goal else 'missed'}" if goal else " | "
        print(f"| ctbone to {best} | {ratio:.2f}× the samples/s | {told} |")
        most = statistics.median(run["seconds"] for run in runs[best]) / floor
        print(
            f"| the floor to {best} "
            f"| {most:.2f}× the samples/s: no more is possible in this precision |  |  |"
        )
    held = augmentation <= AUGMENTATION_GOAL
    print(
        f"| augmentation to a step | {augmentation:.1%} | ≤ {AUGMENTATION_GOAL:.0%} "
        f"| {'met' if held else 'missed'} |\n"
    )
    return met and held


def worker_count() -> int:
    return 8 if GPU else 2


def densenet() -> torch.nn.Module:
    from monai.networks.nets import DenseNet121

    return DenseNet121(spatial_dims=3, in_channels=1, out_channels=2)


def contender(name: str, root: Path) -> Contender:
    study = Study.open(root)
    if name == OURS:
        return ctbone_loop(study)
    return monai_loop(study, separate=name.startswith(USUAL), workers=int(name.split()[-2]))


def run_alone(name: str, root: Path, options: argparse.Namespace) -> dict:
    sizes = ["--batch", str(options.batch), "--batches", str(options.batches)]
    command = [sys.executable, __file__, "--only", name, "--study", str(root), *sizes]
    # As ctbone's command sets it; the tutorials set nothing.
    environment = {**({"GOMP_SPINCOUNT": "10000"} if name == OURS else {}), **os.environ}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(loop: Contender, batches: int, batch: int) -> dict:
    """Time an epoch after two that warm up, during which the heap grows.

    Returns seconds a sample, busy share and peak GiB.
    """
    for _ in range(2):
        loop.epoch(1, batches)
    settle()
    if GPU:
        torch.cuda.reset_peak_memory_stats()  # without what timing the convolutions took
    spent, began = _processor_seconds(), time.perf_counter()
    loop.epoch(2, batches)
    settle()
    seconds = time.perf_counter() - began
    work = _processor_seconds() - spent
    if GPU:
        busy, peak = (
            gpu_busy(lambda: loop.epoch(3, batches)),
            torch.cuda.max_memory_allocated() / 2**30,
        )
    else:
        own, children = (
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        busy, peak = work / seconds / (os.cpu_count() or 1), (own + children) / 2**20
    alone = None
    if loop.augmentation is not None:
        loop.augmentation(1)
        alone = loop.augmentation(batches) / (batches * batch)
    samples = batches * batch
    return {
        "seconds": seconds / samples,
        "work": work / samples,
        "busy": busy,
        "peak": peak,
        "augmentation": alone,
    }


def gpu_busy(run) -> float:
    """Share of the wall time in which the GPU runs a kernel or a copy."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        settle()  # the profiler's own start is no time of the loop's
        began = time.perf_counter()
        run()
        settle()
        seconds = time.perf_counter() - began
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    )
    busy = end = 0.0
    for start, stop in spans:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return busy / 1e6 / seconds


def _processor_seconds() -> float:
    """Processor time of this process and of its living child processes."""
    import psutil

    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [own, *own.children(recursive=True)])


def protocol(epochs: int, size: int, at_once: int) -> bool:
    """Train all folds on synthetic crops of 514 patients, from loading to joined predictions."""
    from ctbone.training import train, train_folds

    with tempfile.TemporaryDirectory() as folder:
        study = write_study(
            Path(folder) / "study", cases=PATIENTS, size=size, training={"epochs": epochs}
        )
        began = time.perf_counter()
        if at_once > 1:
            train_folds(study, "3d", at_once=at_once, threads=os.cpu_count() or 1)
        else:
            train(study, "3d")
        minutes = (time.perf_counter() - began) / 60
    expected = minutes * EPOCHS / epochs
    print(
        f"{PATIENTS} patients at {size}³, {FOLDS} folds, {epochs} epochs, validation included: "
        f"{minutes:.2f} minutes"
    )
    if epochs != EPOCHS:
        print(f"at this pace, {EPOCHS} epochs take at most {expected:.1f} minutes")
    print(f"goal: ≤ {MINUTES:.0f} minutes on an H200: {'met' if expected <= MINUTES else 'missed'}")
    return expected <= MINUTES


if __name__ == "__main__":
    main()
