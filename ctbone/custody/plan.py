"""What ``ctbone run`` would make, and how long it would take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ctbone.cohort import read_cohort
from ctbone.custody.chain import Chain
from ctbone.custody.link import Link
from ctbone.custody.memory import Memory
from ctbone.errors import CtboneError
from ctbone.study import Study, read_table


@dataclass(frozen=True)
class Step:
    """One stage that ``ctbone run`` would run.

    Attributes
    ----------
    command
        The command of the stage.
    what
        What it makes: cases, or model and folds.
    seconds
        Expected time in one process, from recorded times; None if none are recorded.
    """

    command: str
    what: str
    seconds: float | None


def plan(study: Study, chain: Chain) -> tuple[Step, ...]:
    """Return the stages that have something to make, in order."""
    memory = Memory(study)
    steps: list[Step] = []
    cases = {link.name for link in (*chain.of("volume"), *chain.of("crop")) if is_due(link)}
    if cases:
        steps.append(Step("preprocess", _count(cases, "case"), _preprocessing(study, len(cases))))
    new_folds = any(is_due(link) for link in chain.of("folds"))
    trained: set[str] = set()
    for model in study.settings.models:
        weights = [link for link in chain.of("weights") if link.name.startswith(f"{model}/fold")]
        due = [link for link in weights if new_folds or is_due(link)]
        rows = [
            link
            for link in chain.of("predictions")
            if (link.name, link.part) == (model, "internal")
        ]
        if due:
            trained.add(model)
            steps.append(
                Step("train", f"{model}, {_count(due, 'fold')}", _training(study, model, len(due)))
            )
        elif any(link.state != "current" for link in rows):
            steps.append(Step("train", f"{model}, its table", None))
    external = read_cohort(study).external
    for model in study.settings.models if external else ():
        rows = [
            link
            for link in chain.of("predictions")
            if (link.name, link.part) == (model, "external")
        ]
        if model in trained or any(link.state != "current" for link in rows):
            what = f"{model}, {_count(external, 'external case')}"
            steps.append(Step("predict", what, memory.seconds(f"predict {model}")))
    fusions = chain.of("fusion")
    if fusions and (any(is_due(link) for link in fusions) or _makes_predictions(steps)):
        steps.append(Step("fuse", _count(fusions, "table"), memory.seconds("fuse")))
    if steps or any(is_due(link) for link in chain.of("report")):
        steps.append(Step("report", "the page", memory.seconds("report")))
    return tuple(steps)


def is_due(link: Link) -> bool:
    """Whether ``ctbone run`` makes this file."""
    return link.state in ("stale", "missing")


@contextmanager
def timed(study: Study, step: str) -> Iterator[None]:
    """Remember how long a step takes, for the next plan."""
    began = time.perf_counter()
    yield
    memory = Memory(study)
    memory.keep_seconds(step, time.perf_counter() - began)
    memory.save()


def _makes_predictions(steps: Iterable[Step]) -> bool:
    return any(step.command in ("train", "predict") for step in steps)


def _count(things: Iterable[object], word: str) -> str:
    number = len(list(things))
    return f"{number} {word}{'s' * (number != 1)}"


def _preprocessing(study: Study, cases: int) -> float | None:
    if not study.preprocess_csv.is_file():
        return None
    try:
        table = read_table(study.preprocess_csv, ("seconds",))
    except CtboneError:
        return None
    seconds = _numbers(table["seconds"])
    return cases * float(np.mean(seconds)) if seconds else None


def _training(study: Study, model: str, folds: int) -> float | None:
    """Estimate from the epochs of this model's folds, finished or not."""
    epochs = study.settings.models[model].training.epochs
    seconds: list[float] = []
    for fold in range(study.settings.folds.count):
        file = study.run_folder(model, fold) / "metrics.csv"
        try:
            seconds += _numbers(read_table(file, ("seconds",))["seconds"])
        except CtboneError:
            continue
    return folds * epochs * float(np.mean(seconds)) if seconds else None


def _numbers(cells: Iterable[object]) -> list[float]:
    found = []
    for cell in cells:
        try:
            found.append(float(str(cell)))
        except ValueError:
            continue
    return [value for value in found if np.isfinite(value)]
