"""One screen on this machine: versions, devices, checked arithmetic, space and time for a study."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import shutil
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from ctbone.results import Result
from ctbone.study import Study

_PACKAGES = (
    "ctbone", "torch", "monai", "timm", "numpy", "scipy", "pandas", "scikit-learn", "nibabel",
    "pydicom", "lightning-fabric", "safetensors",
)  # fmt: skip
_CODECS = ("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm")
_HUB = "https://huggingface.co"
_STATE_COPIES = 6
"""Weights, gradients, two moments of Adam, and copies of the best and the last epoch."""


@dataclass(frozen=True)
class ModelTime:
    """Time and arithmetic of one model of the study.

    Attributes
    ----------
    precision
        Device, precision and layout.
    faults
        Layers that are computed another way, or the error if none is right.
    seconds_a_sample
        Of one training step, forward and backward; None if it was not measured.
    hours
        Estimate for all folds and epochs of the study.
    weights_mb
        Size of the weights.
    """

    precision: str
    faults: tuple[str, ...]
    seconds_a_sample: float | None
    hours: float | None
    weights_mb: float


@dataclass(frozen=True, repr=False)
class Diagnosis(Result):
    """What ``doctor`` found; ``str`` is one screen, ``json`` is for bug reports.

    It holds no names of cases or persons, and no paths.
    """

    system: dict[str, str]
    packages: dict[str, str | None]
    codecs: dict[str, str | None]
    devices: tuple[str, ...]
    memory_gb: float | None
    disk_free_gb: float
    cases: int | None = None
    disk_needed_gb: float | None = None
    memory_needed_gb: float | None = None
    models: dict[str, ModelTime] = field(default_factory=dict)
    hub: str | None = None

    def json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(asdict(self), indent=2)

    def lines(self) -> list[tuple[str, str]]:
        """Return subject and finding of each line."""
        versions = [f"{name} {value}" for name, value in self.packages.items() if value]
        missing = [name for name, value in self.packages.items() if not value]
        found = [name for name, value in self.codecs.items() if value]
        rows = [
            ("system", ", ".join(self.system.values())),
            ("packages", ", ".join(versions)),
            ("not installed", ", ".join(missing)),
            ("codecs", ", ".join(found) or "none: only uncompressed DICOM can be read"),
            ("devices", "; ".join(self.devices)),
            ("memory", _of(self.memory_gb, self.memory_needed_gb)),
            ("free disk", _of(self.disk_free_gb, self.disk_needed_gb)),
            ("cases", "" if self.cases is None else str(self.cases)),
        ]
        for name, model in self.models.items():
            rows.append((f"model {name}", model.precision))
            rows.append(("  arithmetic", "; ".join(model.faults) or "every layer is right"))
            if model.seconds_a_sample is not None:
                hours = (
                    "" if model.hours is None else f"; the study's protocol: {model.hours:.1f} h"
                )
                rows.append(("  time", f"{model.seconds_a_sample:.3f} s a sample{hours}"))
        rows.append(("weights hub", self.hub or "not asked (--network)"))
        return [row for row in rows if row[1]]

    @property
    def table(self) -> pd.DataFrame:
        """Return the lines as a table."""
        return pd.DataFrame(self.lines(), columns=["subject", "found"])

    def __str__(self) -> str:
        return "\n".join(f"{subject:<16}{found}" for subject, found in self.lines())


def _of(there: float | None, needed: float | None) -> str:
    known = "unknown" if there is None else f"{there:.1f} GB"
    if needed is None:
        return known
    short = there is not None and there < needed
    return f"{known}; this study needs about {needed:.1f} GB{' - TOO LITTLE' * short}"


def diagnose(study: Study | None, *, network: bool = False) -> Diagnosis:
    """Look at this machine, and at what a study will need.

    Parameters
    ----------
    study
        None: the machine alone.
    network
        Whether to ask for the weights hub.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = [f"processor, {cores} cores, {torch.backends.cpu.get_cpu_capability()} kernels"]
    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 1e9
        devices.append(f"{torch.cuda.get_device_name(number)}, {memory:.0f} GB")
    needs = {} if study is None else _needs(study)
    return Diagnosis(
        system={
            "os": platform.platform(terse=True),
            "python": f"Python {platform.python_version()}",
        },
        packages={name: _version(name) for name in _PACKAGES},
        codecs={name: _version(name) for name in _CODECS},
        devices=tuple(devices),
        memory_gb=_memory(),
        disk_free_gb=round(shutil.disk_usage("." if study is None else study.root).free / 1e9, 2),
        hub=_reach() if network else None,
        **needs,
    )


def _needs(study: Study) -> dict[str, Any]:
    """Return cases, disk, memory and the models' times of a study."""
    from ctbone.cohort import read_cohort
    from ctbone.errors import CtboneError
    from ctbone.input_kind import kinds_of

    settings = study.settings
    cases: int | None
    internal: int | None
    try:
        cohort = read_cohort(study)
        cases, internal = len(cohort.cases), len(cohort.internal)
    except CtboneError:  # no cohort table yet, or one that 'ctbone check' refuses
        cases = internal = None
    import torch

    with torch.random.fork_rng():
        models = {name: _measure(study, name, internal) for name in settings.models}
    crop_mb = sum(
        2 * kind.settings(settings.preprocess).size ** kind.dimensions * views / 1e6
        for kind in kinds_of(settings).values()
        for views in ((3,) if kind.has_views else (1,))
    )
    weights = sum(model.weights_mb for model in models.values()) * settings.folds.count / 1e3
    found: dict[str, Any] = {"models": models, "cases": cases}
    if cases is not None:
        # A CT of 512 x 512 x 200 voxels compresses to about 50 MB of NIfTI; masks add crops' half.
        found["disk_needed_gb"] = round(cases * (50 + 1.5 * crop_mb) / 1e3 + 5 * weights, 2)
        largest = max((model.weights_mb for model in models.values()), default=0.0)
        found["memory_needed_gb"] = round(
            2 + cases * crop_mb / 1e3 + _STATE_COPIES * largest / 1e3, 2
        )
    return found


def _measure(study: Study, name: str, internal: int | None) -> ModelTime:
    """Check a model's layers, and time two training steps of two samples."""
    import torch

    from ctbone.errors import TrainingError
    from ctbone.input_kind import INPUT_KINDS
    from ctbone.models.arithmetic import check_arithmetic
    from ctbone.models.hardware import choose_hardware
    from ctbone.models.networks import build_network

    model = study.settings.models[name]
    kind = INPUT_KINDS[model.dim]
    size = kind.settings(study.settings.preprocess).size
    hardware = choose_hardware(model.training)
    classes = len(study.settings.classes)
    network = build_network(model, classes, size=size, folder=study.root)
    hardware.place(network).train()
    shape = (model.channels, *[size] * kind.dimensions)
    weights = sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6
    try:
        faults = check_arithmetic(network, shape, hardware=hardware)
    except TrainingError as error:
        return ModelTime(str(hardware), (str(error),), None, None, round(weights, 1))
    seen = hardware.arrange(torch.zeros((2, *shape), device=hardware.device).add_(0.5))
    seconds = math.inf
    for _ in range(2):
        began = time.perf_counter()
        with hardware.autocast():
            found = network(seen)
        found.float().sum().backward()
        float(found.detach().sum())  # waits for the device
        seconds = min(seconds, (time.perf_counter() - began) / len(seen))
    hours = None
    if internal is not None:
        images, folds = internal * (3 if kind.has_views else 1), study.settings.folds.count
        # Of k folds one is tested; a validation costs about a third of a step.
        trained = images * (folds - 1) / folds * model.training.epochs * folds
        hours = round(trained * seconds / 3600, 2)
    return ModelTime(
        precision=str(hardware),
        faults=tuple(f"{fault}; computed in {fault.way}" for fault in faults),
        seconds_a_sample=round(seconds, 4),
        hours=hours,
        weights_mb=round(weights, 1),
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> float | None:
    """Return the memory of the machine in GB; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _reach() -> str:
    try:
        with urllib.request.urlopen(_HUB, timeout=5):
            return "reachable"
    except OSError as error:
        return f"not reachable ({type(error).__name__})"
