"""Control networks that must not know the class, and a network trained on permuted labels."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ctbone.auditing.columns import acquisition_columns, learning_cases
from ctbone.auditing.shortcuts import Task, logistic
from ctbone.cohort import Case, Cohort
from ctbone.config import WIDE, ModelSettings, Settings, TrainingSettings, Window
from ctbone.errors import CtboneError
from ctbone.findings import Check, Finding
from ctbone.hounsfield import AIR
from ctbone.models.crops import load_crops
from ctbone.models.hardware import Hardware, choose_hardware
from ctbone.models.network_input import network_input
from ctbone.models.networks import build_network
from ctbone.progress import Progress, progress
from ctbone.stats import delong_test, holm
from ctbone.study import Study

_EDGE = 32
"""Voxels along an edge of the image that the small networks see, at most."""
_LEAST_EDGE = 16
"""Voxels along an edge that the small networks need."""
_DILATION = 5.0
"""mm around the lesion that are hidden with it, for partial volume and a generous mask."""
_SMALL = {"block_config": [2, 4, 4], "growth_rate": 12, "init_features": 16}
"""The DenseNet of the demo, 0.1 million weights."""
_SMALLER = {"block_config": [2, 2], "growth_rate": 8, "init_features": 8}
"""The DenseNet of the permutations, which is trained many times."""
_EPOCHS, _EPOCHS_PERMUTED = 15, 8
_BATCH = 8
_LEARNING_RATE = 2e-3
_HIDDEN = 16
"""Units of the hidden layer of the network of acquisition values."""
_STEPS = 300
"""Steps of that network, each over all training cases."""
_ALPHA = 0.001
"""p-value from which scores count; that of out-of-fold scores can be some times too small, since it
leaves out that the network varies with its training part."""
_FAILED_MEAN = 3.0
"""Standard errors by which the mean AUC of permuted labels may exceed 0.5."""


@dataclass(frozen=True)
class _Images:
    """Images of the cases as the small networks see them, and what the hidden part shows.

    Attributes
    ----------
    whole, around
        Network input, (cases, channels, …grid); ``around`` without the lesion.
    hole
        Size of the hidden box along each axis, (cases, 3), as a share of the edge.
    """

    whole: torch.Tensor
    around: torch.Tensor | None
    hole: np.ndarray


def control_findings(
    study: Study, cohort: Cohort, *, controls: bool, permute: int
) -> list[Finding]:
    """Train the control networks and judge them; the expected time is printed first."""
    cases = learning_cases(cohort)
    task = Task.of(cases, study.settings)
    if task is None:
        return [_open("controls", "control networks", "a class has fewer than two patients")]
    findings = [_acquisition(study, cases, task)] if controls else []
    try:
        images = _load(study, cases, masks=controls)
    except CtboneError as error:
        check: Check = "controls" if controls else "permutation"
        return [*findings, _open(check, "images", error.problem, error.remedy or "")]
    hardware = choose_hardware(TrainingSettings(precision="fp32"))
    small = _Trainer(study.settings, hardware, _SMALL, _EPOCHS)
    smaller = _Trainer(study.settings, hardware, _SMALLER, _EPOCHS_PERMUTED)
    folds = len(np.unique(task.folds))
    seconds = small.seconds(images.whole, folds) if controls else 0.0
    seconds += smaller.seconds(images.whole, folds * (permute + 1)) if permute else 0.0
    trainings = folds * (bool(controls) + (permute + 1 if permute else 0))
    print(
        f"note: {trainings} small networks, about {_duration(seconds)}", file=sys.stderr, flush=True
    )
    with progress("Controls", total=trainings) as bar:
        if controls and images.around is not None:
            findings.append(_surroundings(task, images, small, study.settings, bar))
        if permute:
            findings.append(_permuted(task, images, smaller, permute, study.settings, bar))
    return findings


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


class _Trainer:
    """Trains small DenseNets on images that fit in memory; the last epoch counts."""

    def __init__(
        self, settings: Settings, hardware: Hardware, options: dict[str, object], epochs: int
    ) -> None:
        self.hardware, self.epochs, self.classes = hardware, epochs, len(settings.classes)
        self.model = ModelSettings(
            dim="3d", network="densenet", network_options=options, windows=_windows(settings)
        )

    def seconds(self, images: torch.Tensor, trainings: int) -> float:
        """Return the expected time of some trainings, from the second of two steps."""
        network, optimizer = self._new(0)
        batch, labels = images[:_BATCH], torch.zeros(len(images[:_BATCH]), dtype=torch.long)
        for _ in range(2):
            started = time.perf_counter()
            self._step(network, optimizer, batch, labels)
            step = time.perf_counter() - started
        return step * len(images) / _BATCH * self.epochs * trainings

    def classifier(self, images: torch.Tensor, bar: Progress, seed: int = 0) -> Callable:
        """Return a classifier whose features are the rows of ``images``."""

        def classify(
            train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int
        ) -> np.ndarray:
            rows = train[:, 0].astype(int)
            network, optimizer = self._new(seed)
            random = np.random.default_rng(seed)
            truth = torch.from_numpy(labels.astype(np.int64))
            for _ in range(self.epochs):
                order = random.permutation(len(rows))
                # Batch normalisation needs two samples: a rest of one joins the batch before it.
                for chosen in np.array_split(order, max(1, len(order) // _BATCH)):
                    batch = images[rows[chosen]]
                    mirrored = torch.from_numpy(random.random(len(chosen)) < 0.5)
                    batch[mirrored] = batch[mirrored].flip(2)  # left and right
                    self._step(network, optimizer, batch, truth[chosen])
            bar.advance()
            return self._probabilities(network, images[test[:, 0].astype(int)])

        return classify

    def _new(self, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(self.model, self.classes)
        network = self.hardware.place(network)
        return network, torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)

    def _step(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: torch.Tensor,
        labels: torch.Tensor,
    ) -> None:
        network.train()
        seen = self.hardware.arrange(batch.to(self.hardware.device))
        loss = functional.cross_entropy(network(seen), labels.to(self.hardware.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.inference_mode()
    def _probabilities(self, network: nn.Module, images: torch.Tensor) -> np.ndarray:
        network.eval()
        found = [
            network(self.hardware.arrange(part.to(self.hardware.device))).softmax(dim=1).cpu()
            for part in images.split(_BATCH)
        ]
        return torch.cat(found).double().numpy()


def _windows(settings: Settings) -> tuple[Window, ...]:
    """Return the windows of the study's first 3D model; the wide one if it has none."""
    return next((model.windows for model in settings.models.values() if model.dim == "3d"), (WIDE,))


def _load(study: Study, cases: tuple[Case, ...], *, masks: bool) -> _Images:
    crops = load_crops(study, cases, "3d", masks=masks, dilation=_DILATION)
    windows = _windows(study.settings)
    size = crops.images.shape[-1]
    factor = -(-size // _EDGE)
    whole, around, holes = [], [], []
    for row in range(len(cases)):
        hu = crops.images[row]
        whole.append(_shrunk(network_input(hu, windows), factor))
        if crops.masks is None:
            continue
        box, extent = _box(crops.masks[row, 0])
        holes.append(extent / size)
        hidden = hu.clone()
        hidden[(0, *box)] = AIR
        around.append(_shrunk(network_input(hidden, windows), factor))
    return _Images(
        whole=torch.cat(whole),
        around=torch.cat(around) if around else None,
        hole=np.array(holes),
    )


def _shrunk(image: torch.Tensor, factor: int) -> torch.Tensor:
    """Return block means; a rest at the far edges is left out. A tiny crop is enlarged."""
    if image.shape[-1] < _LEAST_EDGE:
        return functional.interpolate(image, size=(_LEAST_EDGE,) * 3)
    return functional.avg_pool3d(image, factor) if factor > 1 else image


def _box(mask: torch.Tensor) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the bounding box of a mask and its extent in voxels; the box hides the shape."""
    places = mask.nonzero()
    if not len(places):
        return (slice(0, 0),) * 3, np.zeros(3)
    low, high = places.min(dim=0).values.tolist(), places.max(dim=0).values.tolist()
    box = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    return box, np.array([b + 1 - a for a, b in zip(low, high, strict=True)], dtype=float)


def _surroundings(
    task: Task, images: _Images, trainer: _Trainer, settings: Settings, bar: Progress
) -> Finding:
    assert images.around is not None
    rows = np.arange(len(task.labels))[:, None]
    scores = task.out_of_fold(rows, trainer.classifier(images.around, bar))
    hole = task.out_of_fold(np.column_stack([images.hole, images.hole**2]), logistic)
    level = settings.evaluation.confidence
    area, size = task.area(scores, level), task.area(hole, level)
    beyond = _p_beyond(task, scores, hole)
    found = task.p_value(scores) < _ALPHA
    verdict = (
        f"the size of the hidden box alone has an AUC of {size.value or 0:.3f} "
        f"({size.low or 0:.3f} to {size.high or 1:.3f})"
    )
    if found and beyond < _ALPHA:
        verdict = f"the surroundings tell the class, and not by the lesion's size: {verdict}"
        remedy = (
            "look for tables, burnt-in marks, air or a field of view that differ by class; "
            "infiltration and oedema are other explanations"
        )
    elif found:
        verdict = f"explained by the lesion's size: {verdict}"
        remedy = ""
    else:
        verdict, remedy = "no sign that the surroundings tell the class", ""
    return Finding(
        check="controls",
        subject="the lesion's surroundings only",
        state="attention" if remedy else ("information" if found else "clear"),
        verdict=verdict,
        remedy=remedy,
        measure="AUC",
        value=area,
        p=task.p_value(scores),
    )


def _p_beyond(task: Task, scores: np.ndarray, baseline: np.ndarray) -> float:
    """Return the p-value of scores having a higher AUC than a baseline (DeLong, by patient)."""
    tested = [task.positive] if task.classes == 2 else range(task.classes)
    values = []
    for k in tested:
        compared = delong_test(task.labels == k, scores[:, k], baseline[:, k], groups=task.patients)
        higher = (compared.difference or 0) > 0 and compared.p_value is not None
        values.append(compared.p_value if higher else 1.0)
    return min(float(p) for p in holm(values) if p is not None)


def _acquisition(study: Study, cases: tuple[Case, ...], task: Task) -> Finding:
    subject = "the acquisition's values only"
    parts = [column.features() for column in acquisition_columns(study, cases)]
    features = np.concatenate(parts, axis=1) if parts else np.zeros((len(cases), 0))
    if not features.shape[1]:
        verdict = "the values are equal in all cases, or there are none"
        return Finding("controls", subject, "clear" if parts else "open", verdict)
    scores = task.out_of_fold(features, _perceptron)
    area, p = task.area(scores, study.settings.evaluation.confidence), task.p_value(scores)
    found = p < _ALPHA
    return Finding(
        check="controls",
        subject=subject,
        state="problem" if found else "clear",
        verdict="a network can tell the class from how the scan was made"
        if found
        else "no sign that the scan's settings tell the class",
        remedy="match the classes by scanner and protocol; the table of columns shows by which"
        if found
        else "",
        measure="AUC",
        value=area,
        p=p,
    )


def _perceptron(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int
) -> np.ndarray:
    """Fit a network of one hidden layer and return probabilities."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(train.shape[1], _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, classes)
        )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    seen, truth = torch.from_numpy(train).float(), torch.from_numpy(labels.astype(np.int64))
    for _ in range(_STEPS):
        loss = functional.cross_entropy(network(seen), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        found = network(torch.from_numpy(test).float()).softmax(dim=1)
    return found.double().numpy()


def _permuted(
    task: Task,
    images: _Images,
    trainer: _Trainer,
    times: int,
    settings: Settings,
    bar: Progress,
) -> Finding:
    rows = np.arange(len(task.labels))[:, None]
    scores = task.out_of_fold(rows, trainer.classifier(images.whole, bar))
    area = task.area(scores, settings.evaluation.confidence)
    reached = []
    for number in range(1, times + 1):
        other = permuted(task, number)
        found = other.out_of_fold(rows, trainer.classifier(images.whole, bar, number))
        reached.append(_value(other, found))
    p = (1 + sum(value >= _value(task, scores) for value in reached)) / (times + 1)
    mean, error = float(np.mean(reached)), float(np.std(reached) / np.sqrt(times))
    leaks = times > 2 and mean > 0.5 + max(_FAILED_MEAN * error, 0.02)
    verdict = (
        f"with permuted labels the AUC is {mean:.3f} on average ({min(reached):.3f} to "
        f"{max(reached):.3f}, {times} trainings)"
    )
    return Finding(
        check="permutation",
        subject="a small network on the crops",
        state="problem" if leaks else "information",
        verdict=f"labels without meaning are predicted: {verdict}" if leaks else verdict,
        remedy="look for one patient under two names and for duplicates" if leaks else "",
        measure="AUC",
        value=area,
        p=p,
    )


def _value(task: Task, scores: np.ndarray) -> float:
    """Return the AUC without its interval."""
    from ctbone.stats import auc

    tested = [task.positive] if task.classes == 2 else range(task.classes)
    return float(np.mean([auc(task.labels == k, scores[:, k]) for k in tested]))


def permuted(task: Task, seed: int) -> Task:
    """Return the task with labels permuted among patients that have equally many cases.

    A patient's labels stay together, in their order.
    """
    random = np.random.default_rng(seed)
    labels = task.labels.copy()
    places = [np.flatnonzero(task.patients == patient) for patient in np.unique(task.patients)]
    for count in {len(place) for place in places}:
        alike = [place for place in places if len(place) == count]
        for place, source in zip(alike, random.permutation(len(alike)), strict=True):
            labels[place] = task.labels[alike[source]]
    return Task(labels, task.patients, task.folds, task.classes, task.positive)


def _open(check: Check, subject: str, problem: str, remedy: str = "") -> Finding:
    return Finding(check, subject, "open", problem, remedy)
