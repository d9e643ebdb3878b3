"""Results of the commands: text for a terminal, a table, and HTML for a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ctbone.custody import KINDS, STATES, Chain, Link, Step
from ctbone.errors import CtboneError
from ctbone.findings import FINDING_STATES, Finding, worst
from ctbone.predictions import read_predictions
from ctbone.stats import Estimate
from ctbone.study import Study, read_json
from ctbone.workers import Outcome

if TYPE_CHECKING:
    from ctbone.dicom import Series
    from ctbone.fusion import FusionSummary
    from ctbone.preprocessing import CropSummary
    from ctbone.radiographs import RadiographSummary
    from ctbone.training import TrainingSummary


class Result(ABC):
    """Result of a command.

    ``str()`` gives the text that the command line prints; a notebook shows the first line and the
    table.
    """

    @property
    @abstractmethod
    def table(self) -> pd.DataFrame:
        """The result as a table."""

    @abstractmethod
    def __str__(self) -> str: ...

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = escape(str(self).split("\n", 1)[0])
        return f"<p>{head}</p>{self.table.to_html(index=False, border=0, na_rep='')}"


@dataclass(frozen=True, repr=False)
class CohortCheck(Result):
    """Problems of a cohort.

    Attributes
    ----------
    study
        The study.
    problems
        Errors to correct before anything runs.
    notes
        Findings that may be right, one line each, such as masks of several parts.
    internal, external
        Number of cases; 0 where the table has errors.
    """

    study: Study
    problems: list[CtboneError]
    notes: list[str]
    internal: int = 0
    external: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def summary(self) -> str:
        """The result in one line."""
        if self.problems:
            count = len(self.problems)
            return f"{count} problem{'s' * (count > 1)} in {self.study.root}"
        counts = f"{self.internal} internal, {self.external} external"
        return f"{self.internal + self.external} cases are in order: {counts}"

    @property
    def table(self) -> pd.DataFrame:
        """One row a problem: ``case, problem, found, expected, file, remedy``; then the notes."""
        return _problem_table(self.problems, self.notes)

    def __str__(self) -> str:
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([self.summary, *notes, *problem_lines(self.problems)])


@dataclass(frozen=True, repr=False)
class Conversion(Result):
    """The NIfTI file made from a DICOM folder, or the list of its series.

    Attributes
    ----------
    path
        The file; None if the series are listed only.
    series
        The series of the folder; empty if a file was written.
    """

    path: Path | None
    series: Sequence[Series] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row a series, and the reason why it is taken or not."""
        names = ("number", "modality", "kernel", "slices", "spacing", "thickness", "tilt")
        more = ("transfer_syntax", "verdict", "reason")
        rows = [
            {"number": one.number, "files": len(one.files)}
            | {name: getattr(one, name) for name in (*names, *more)}
            for one in self.series
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        if self.path is not None:
            return f"Wrote {self.path}"
        return "\n".join(f"{one.name}: {one.verdict}, {one.reason}" for one in self.series)


@dataclass(frozen=True, repr=False)
class Preprocessing(Result):
    """Outcomes of the cases, in the order of the cohort; iterating gives the outcomes.

    Attributes
    ----------
    study
        The study.
    outcomes
        One a case: its summary, or the error that stopped it.
    shared
        Errors of cases that have the scan of another patient, or of the other side of internal and
        external validation.
    notes
        Findings that may be right, one line each: scans that are nearly the same.
    """

    study: Study
    outcomes: Sequence[Outcome[Any, CropSummary | RadiographSummary]]
    shared: Sequence[CtboneError] = ()
    notes: Sequence[str] = ()

    def __iter__(self) -> Iterator[Outcome[Any, CropSummary | RadiographSummary]]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def problems(self) -> list[CtboneError]:
        """The errors of the cases that failed, and the scans that may not be the same."""
        return [*(outcome.error for outcome in self.outcomes if outcome.error), *self.shared]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def summary(self) -> str:
        """The result in one line."""
        failed = sum(outcome.error is not None for outcome in self.outcomes)
        ready = len(self.outcomes) - failed
        return f"{ready} cases are ready in {self.study.root / 'crops'}, {failed} failed"

    @property
    def table(self) -> pd.DataFrame:
        """One row a case: ``case_id``, ``problem`` where it failed, and the lesion's measures."""
        rows = []
        for outcome in self.outcomes:
            row: dict[str, Any] = {"case_id": outcome.item.case.case_id, "problem": ""}
            if outcome.result is not None:
                row |= asdict(outcome.result)
            elif outcome.error is not None:
                row["problem"] = outcome.error.problem
            rows.append(row)
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([self.summary, *notes, *problem_lines(self.problems)])


@dataclass(frozen=True, repr=False)
class Training(Result):
    """Trained folds of each model.

    Attributes
    ----------
    models
        One summary a model.
    """

    models: Sequence[TrainingSummary]

    @property
    def table(self) -> pd.DataFrame:
        """One row a model and fold: the epoch that was kept, its validation score, seconds."""
        rows = [
            {"model": model.model, **asdict(fold)} for model in self.models for fold in model.folds
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return "\n".join(str(model) for model in self.models)


@dataclass(frozen=True, repr=False)
class Prediction(Result):
    """Predictions of the external cases.

    Attributes
    ----------
    study
        The study.
    paths
        The table of probabilities of each model.
    left_out
        By model that was left out, the reason.
    """

    study: Study
    paths: dict[str, Path]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """The external rows of all models: one row a case, fold and view."""
        classes = self.study.settings.classes
        tables = [read_predictions(path, classes) for path in self.paths.values()]
        return pd.concat(tables, ignore_index=True).query("split == 'external'")

    def __str__(self) -> str:
        lines = [f"Wrote {path}" for path in self.paths.values()]
        return "\n".join([*lines, *(f"Left out: {reason}" for reason in self.left_out.values())])


@dataclass(frozen=True, repr=False)
class Fusion(Result):
    """Fused probabilities.

    Attributes
    ----------
    combinations
        One summary a combination, stack or recalibration of the settings.
    """

    combinations: Sequence[FusionSummary]

    @property
    def table(self) -> pd.DataFrame:
        """One row a fusion and part: mean and standard deviation of its weight over the folds."""
        rows = []
        for one in self.combinations:
            remark = one.made_of or (f"left out, {one.skipped}" if one.skipped else "")
            means = one.mean or (None,) * len(one.parts)
            sds = one.sd or (None,) * len(one.parts)
            for part, mean, sd in zip(one.parts, means, sds, strict=True):
                row = {"fusion": one.name, "part": part, "weight": mean, "sd": sd}
                rows.append({**row, "remark": remark})
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        reasons: dict[str, list[str]] = {}
        for one in self.combinations:
            if one.skipped:
                reasons.setdefault(one.skipped, []).append(one.name)
        lines = [str(one) for one in self.combinations if not one.skipped]
        return "\n".join(
            [*lines, *(f"{why}: left out {', '.join(names)}" for why, names in reasons.items())]
        )


@dataclass(frozen=True, repr=False)
class Report(Result):
    """A written report.

    Attributes
    ----------
    path
        ``index.html``; beside it are ``metrics.json``, ``tables/`` and ``figures/``.
    """

    path: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return read_json(self.path.with_name("metrics.json"))

    @property
    def table(self) -> pd.DataFrame:
        """One row a model and metric: ``model, metric, value, low, high``."""
        rows = []
        for model, metrics in self.metrics["models"].items():
            for name, metric in metrics.items():
                if isinstance(metric, dict) and {"value", "low", "high"} <= set(metric):
                    row = {key: metric[key] for key in ("value", "low", "high")}
                    rows.append({"model": model, "metric": name, **row})
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return f"Report: {self.path.resolve()}"

    def _repr_html_(self) -> str:
        table = self.table
        if not table.empty:
            table = table.pivot(index="model", columns="metric", values="value").round(3)
        link = f'<a href="{escape(self.path.as_posix())}">{escape(str(self.path))}</a>'
        return f"<p>Report: {link}</p>{table.to_html(border=0, na_rep='')}"


@dataclass(frozen=True, repr=False)
class Evaluation(Report):
    """The report of one table of probabilities."""

    @property
    def positive(self) -> str | None:
        """The positive class; None with more than two classes."""
        positive = self.metrics["positive"]
        return None if positive is None else str(positive)

    def __str__(self) -> str:
        end = "" if self.positive is None else f"\npositive class: {self.positive}"
        return f"{super().__str__()}{end}"


@dataclass(frozen=True, repr=False)
class Status(Result):
    """What a study holds, and what ``ctbone run`` would make.

    Attributes
    ----------
    study
        The study.
    chain
        Every file that ctbone makes, and whether it belongs to what it was made from.
    steps
        The stages that have something to make, in order.
    """

    study: Study
    chain: Chain
    steps: Sequence[Step]

    @property
    def ok(self) -> bool:
        """Whether there is nothing to make."""
        return not self.steps

    @property
    def table(self) -> pd.DataFrame:
        """One row a kind of file: how many are in each state, and why the first is not current."""
        rows = []
        for kind in KINDS:
            links = self.chain.of(kind)
            counts = Counter(link.state for link in links)
            states: dict[str, Any] = {state: counts[state] for state in STATES}
            rows.append({"kind": kind, **states, "because": "; ".join(_reasons(links))})
        return pd.DataFrame(rows)

    @property
    def record(self) -> dict[str, Any]:
        """The status as JSON: every file that is not current, the counts, and the steps."""
        links = [link for link in self.chain.links if link.state != "current"]
        names = ("kind", "name", "part", "state", "because", "remedy")
        counts: dict[str, dict[str, int]] = {}
        for kind in KINDS:
            found = Counter(link.state for link in self.chain.of(kind))
            counts[kind] = {state: found[state] for state in STATES}
        return {
            "counts": counts,
            "not_current": [{name: getattr(link, name) for name in names} for link in links],
            "steps": [asdict(step) for step in self.steps],
        }

    def __str__(self) -> str:
        lines = [f"{'':<12} {'current':>8} {'stale':>8} {'missing':>8} {'elsewhere':>10}"]
        for kind in KINDS:
            links = self.chain.of(kind)
            counts = Counter(link.state for link in links)
            cells = [counts[state] or "-" for state in STATES]
            lines.append(
                f"{kind:<12} {cells[0]:>8} {cells[1]:>8} {cells[2]:>8} {cells[3]:>10}".rstrip()
            )
            lines += [f"    {reason}" for reason in _reasons(links)]
        if not self.steps:
            return "\n".join([*lines, "'ctbone run' has nothing to make"])
        total = sum(step.seconds or 0 for step in self.steps)
        unknown = any(step.seconds is None for step in self.steps)
        about = f"about {_duration(total)}" if total or not unknown else "no times are recorded yet"
        rest = " and the steps without a recorded time" if unknown and total else ""
        lines.append(f"'ctbone run' would make ({about}{rest}):")
        for step in self.steps:
            time = "" if step.seconds is None else f"  {_duration(step.seconds)}"
            lines.append(f"    {step.command:<10}  {step.what}{time}")
        return "\n".join(lines)


_REASONS = 4
"""Reasons of one kind of file that the status lists at most."""


def _reasons(links: Iterable[Link]) -> list[str]:
    """Return why files are not current, each reason once with the number of files."""
    names: dict[tuple[str, str], list[str]] = {}
    for link in links:
        if link.state != "current":
            name = f"{link.name} ({link.part})" if link.part else link.name
            names.setdefault((link.state, link.because), []).append(name)
    texts = []
    for (state, because), of in list(names.items())[:_REASONS]:
        more = f" and {len(of) - 1} more" if len(of) > 1 else ""
        texts.append(f"{state}: {of[0]}{more}: {because}")
    if len(names) > _REASONS:
        texts.append(f"and {len(names) - _REASONS} more reasons")
    return texts


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True, repr=False)
class Audit(Result):
    """Findings of an audit.

    Attributes
    ----------
    path
        ``index.html``; beside it are ``audit.json`` and ``tables/``.
    findings
        Every finding, in the order of the page.
    """

    path: Path
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return worst(self.findings) != "problem"

    @property
    def table(self) -> pd.DataFrame:
        """One row a finding: ``check, subject, state, verdict, remedy, measure, value, …, p``."""
        rows = []
        for one in self.findings:
            value = one.value
            ends = (value.value, value.low, value.high) if isinstance(value, Estimate) else value
            numbers = ends if isinstance(ends, tuple) else (ends, None, None)
            row = {name: part for name, part in vars(one).items() if name not in ("value", "p")}
            rows.append(
                row | dict(zip(("value", "low", "high"), numbers, strict=True)) | {"p": one.p}
            )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        lines = []
        for one in self.findings:
            if one.state in ("problem", "attention"):
                number = f" ({one.measure} {one.value})" if one.measure == "AUC" else ""
                lines.append(f"{one.state}: {one.subject}: {one.verdict}{number}")
                lines += [f"  remedy: {one.remedy}"] if one.remedy else []
        counts = Counter(one.state for one in self.findings)
        summary = ", ".join(
            f"{counts[state]} {FINDING_STATES[state]}" for state in FINDING_STATES if counts[state]
        )
        return "\n".join([*lines, f"Audit: {summary}: {self.path.resolve()}"])


def problem_lines(problems: Iterable[CtboneError]) -> Iterator[str]:
    """Yield each kind of problem once, with the cases that have it."""
    kinds: dict[tuple[str, str | None, str | None], list[CtboneError]] = {}
    for problem in problems:
        kinds.setdefault((problem.problem, problem.expected, problem.remedy), []).append(problem)
    for (text, expected, remedy), alike in kinds.items():
        if len(alike) == 1:
            yield from f"- {alike[0]}".splitlines()
            continue
        yield f"- {len(alike)} times: {text}"
        for one in alike:
            yield "    " + "  ".join(part for part in (one.case, one.found, one.file) if part)
        for name, detail in (("expected:", expected), ("remedy:", remedy)):
            if detail:
                yield f"  {name:<9} {detail}"


def _problem_table(problems: Sequence[CtboneError], notes: Sequence[str]) -> pd.DataFrame:
    columns = ("case", "problem", "found", "expected", "file", "remedy")
    rows = [{name: getattr(problem, name) for name in columns} for problem in problems]
    rows += [{"problem": f"note: {note}"} for note in notes]
    return pd.DataFrame(rows, columns=list(columns)).fillna("")
