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

from ctbone.custody import STATES, Chain, Link, Step
from ctbone.errors import CtboneError
from ctbone.findings import FINDING_STATES, Finding, worst
from ctbone.predictions import read_predictions
from ctbone.stats import Estimate
from ctbone.study import Study, read_json, record_of
from ctbone.workers import Outcome

if TYPE_CHECKING:
    from ctbone.dicom import Series
    from ctbone.explaining import Explanations
    from ctbone.fusion import FusionSummary
    from ctbone.manuscript import Kit
    from ctbone.pacs import PulledCase, Pushed
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
    opinions
        Other converters' volumes compared with ctbone's, one row a case and converter; None where
        no second opinion was asked for.
    """

    study: Study
    problems: list[CtboneError]
    notes: list[str]
    internal: int = 0
    external: int = 0
    opinions: pd.DataFrame | None = None

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

    @property
    def opinion_lines(self) -> list[str]:
        """Counts of each converter, then each series that differs or is not converted."""
        if self.opinions is None:
            return []
        if self.opinions.empty:
            return ["second opinion: no case has a DICOM series"]
        lines = []
        for (name, version), rows in self.opinions.fillna("").groupby(["converter", "version"]):
            counts = rows["result"].value_counts()
            told = ", ".join(f"{result}: {count}" for result, count in counts.items())
            lines.append(f"second opinion of {name} {version}: {told}".replace(" :", ":"))
            for _, row in rows[rows["result"] != "agrees"].iterrows():
                lines.append(f"  {row['case_id']}: {_opinion_line(row)}")
        return [*lines, f"Table: {self.study.second_opinion_csv}"]

    def __str__(self) -> str:
        notes = [f"note: {note}" for note in self.notes]
        found = [*notes, *self.opinion_lines, *problem_lines(self.problems)]
        return "\n".join([self.summary, *found])


def _opinion_line(row: pd.Series) -> str:
    if row["result"] == "no volume":
        return str(row["explanation"])
    share = f"{row['different']} of {row['voxels']} voxels differ"
    return f"{share}, by up to {row['largest_hu']} HU: {row['explanation']}"


@dataclass(frozen=True, repr=False)
class Pulling(Result):
    """Examinations that were pulled from a PACS.

    Attributes
    ----------
    study
        The study.
    pulled
        The complete ones.
    problems
        Why the others are not complete.
    """

    study: Study
    pulled: Sequence[PulledCase]
    problems: Sequence[CtboneError]

    @property
    def ok(self) -> bool:
        """Whether every examination is complete."""
        return not self.problems

    @property
    def summary(self) -> str:
        """The result in one line."""
        new = [case for case in self.pulled if case.images]
        count, images = len(self.pulled), sum(case.images for case in new)
        told = f"{count} examinations are complete in {self.study.exports}"
        return f"{told}, {len(new)} of them new ({images} images); {len(self.problems)} failed"

    @property
    def table(self) -> pd.DataFrame:
        """One row a complete examination: ``case_id, series, images``."""
        rows = [(case.case_id, case.series, case.images) for case in self.pulled]
        return pd.DataFrame(rows, columns=["case_id", "series", "images"])

    def __str__(self) -> str:
        return "\n".join([self.summary, *problem_lines(self.problems)])


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
        more = ("transfer_syntax", "part", "verdict", "reason", "note")
        rows = [
            {"number": one.number, "files": len(one.files)}
            | {name: getattr(one, name) for name in (*names, *more)}
            for one in self.series
        ]
        return pd.DataFrame(rows)

    @property
    def record(self) -> dict[str, Any]:
        """The list of the series, or the record beside the file, as JSON."""
        if self.path is not None:
            return {"path": str(self.path), **read_json(record_of(self.path))}
        names = ("number", "part", "modality", "kernel", "contrast", "slices", "tilt",
                 "transfer_syntax", "verdict", "reason", "note")  # fmt: skip
        rows = []
        for one in self.series:
            row = {name: getattr(one, name) for name in names}
            row |= {"files": len(one.files), "spacing_mm": one.spacing}
            rows.append({**row, "thickness_mm": one.thickness})
        return {"series": rows}

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
        Findings that may be right, one line each: scans that are nearly the same, NIfTI images
        whose values may not be HU, masks that were drawn on another scan.
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
class Answers(Result):
    """Answers for new patients; iterating gives one dictionary a case.

    Attributes
    ----------
    answers
        The content of each case's JSON file.
    problems
        The errors of the cases that failed.
    path
        The folder of the files; None if nothing was written.
    dicom
        The folder of the DICOM objects, a subfolder a case; None if none was asked for.
    sent
        What was sent to an archive; None if nothing was.
    """

    answers: Sequence[dict[str, Any]]
    problems: Sequence[CtboneError] = ()
    path: Path | None = None
    dicom: Path | None = None
    sent: Pushed | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def ok(self) -> bool:
        """Whether every case has an answer."""
        return not self.problems

    @property
    def table(self) -> pd.DataFrame:
        """One row a case and answer; ``first`` marks the answer that is shown first."""
        rows = []
        for one in self.answers:
            trust = one["trust"]
            flags = [*trust["outside_training_range"], *trust["remarks"]]
            for name, answer in one["answers"].items():
                folds, conformal = answer.get("folds") or {}, answer["conformal"]
                rows.append(
                    {
                        "case_id": one["case"],
                        "answer": name,
                        "first": name == one["answer"],
                        **{f"p_{label}": p for label, p in answer["probabilities"].items()},
                        "sd_folds": folds.get("sd"),
                        "lowest_fold": folds.get("lowest"),
                        "highest_fold": folds.get("highest"),
                        "class": answer["class"],
                        "threshold": answer["threshold"],
                        "conformal_set": " ".join(conformal["set"] or ()),
                        "abstains": conformal.get("abstains"),
                        "flags": " ".join(flags),
                        "notice": one["notice"],
                    }
                )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        lines = [line for one in self.answers for line in _answer_lines(one)]
        notice = [self.answers[0]["notice"]] if self.answers else []
        wrote = [f"Wrote {self.path}"] if self.path is not None else []
        if self.dicom is not None:
            wrote.append(f"Wrote {self.dicom}: DICOM objects with the patient's name")
        if self.sent is not None:
            wrote.append(str(self.sent))
        return "\n".join([*lines, *notice, *wrote, *problem_lines(self.problems)])


@dataclass(frozen=True, repr=False)
class Export(Result):
    """A written model file.

    Attributes
    ----------
    path
        The file.
    digest
        Its SHA-256, with which its receiver can verify it.
    card
        The model card, Markdown.
    onnx
        The ONNX files beside it.
    """

    path: Path
    digest: str
    card: str
    onnx: Sequence[Path] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row a file: its path and its size in bytes."""
        files = [self.path, *self.onnx]
        return pd.DataFrame([{"file": str(one), "bytes": one.stat().st_size} for one in files])

    def __str__(self) -> str:
        lines = [f"Wrote {self.path}", f"SHA-256 {self.digest}"]
        return "\n".join([*lines, *(f"Wrote {one}" for one in self.onnx)])


def _answer_lines(one: dict[str, Any]) -> list[str]:
    """Show one case: the first answer, the others, and how far to trust them."""
    lines: list[str] = []
    for name, answer in sorted(one["answers"].items(), key=lambda item: item[0] != one["answer"]):
        p = ", ".join(f"{label} {value:.3f}" for label, value in answer["probabilities"].items())
        folds = answer.get("folds")
        spread = f" (folds {folds['lowest']:.3f} to {folds['highest']:.3f})" if folds else ""
        text = f"{name}: {p}{spread}; class {answer['class']}"
        lines.append(f"case {one['case']}: {text}" if not lines else f"  {text}")
    conformal = one["answers"][one["answer"]]["conformal"]
    trust = one["trust"]
    told = [conformal.get("sentence") or f"No conformal set: {conformal.get('why')}."]
    told += _coverage_lines(conformal)
    told += trust["outside_training_range"] or ["Nothing compared is outside the training range."]
    told += [*trust["remarks"], *trust["not_compared"]]
    return [*lines, *(f"  {sentence}" for sentence in told)]


def _coverage_lines(conformal: dict[str, Any]) -> list[str]:
    """Say which coverage a conformal set has with this number of calibration cases."""
    coverage = conformal.get("expected_coverage") or {}
    parts = [
        f"{name} {of['between'][0]:.2f} to {of['between'][1]:.2f} "
        f"(n = {of['n']}; 95 % of such samples {of['range_95'][0]:.2f} to {of['range_95'][1]:.2f})"
        for name, of in coverage.items()
    ]
    if not parts:
        return []
    return [f"Expected coverage: {', '.join(parts)}. Calibrated on {conformal['calibration']}."]


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
        lines += [f"{why}: left out {', '.join(names)}" for why, names in reasons.items()]
        readers = dict.fromkeys(one.reader_why for one in self.combinations if one.reader_why)
        return "\n".join([*lines, *(f"The reader is {who}." for who in readers)])


@dataclass(frozen=True, repr=False)
class Explanation(Result):
    """Maps of what each model uses.

    Attributes
    ----------
    models
        One summary a model.
    """

    models: Sequence[Explanations]

    @property
    def table(self) -> pd.DataFrame:
        """One row a model, case and method: class, probability, and how the heat lies."""
        names = ("case_id", "cohort", "truth", "method", "target", "probability", "layer")
        measures = ("points", "inside", "volume", "ratio", "extent")
        rows = [
            {"model": one.model, **{name: record[name] for name in (*names, *measures)}}
            for one in self.models
            for record in one.records
        ]
        return pd.DataFrame(rows, columns=["model", *names, *measures])

    def __str__(self) -> str:
        lines = []
        for one in self.models:
            kept = f", {one.kept} were up to date" if one.kept else ""
            lines.append(f"{one.model}: {_cases(one.drawn)} explained{kept}; {one.page.resolve()}")
            if one.layer and one.cell_mm:
                low, high = (f"{mm:.2g}" for mm in one.cell_mm)
                span = low if low == high else f"{low} to {high}"
                lines.append(f"  layer {one.layer.name}, cells of {span} {one.unit}")
            if one.left_out:
                lines.append(f"  left out, their folds are not trained: {_cases(one.left_out)}")
        return "\n".join(lines)


def _cases(found: int | Sequence[str]) -> str:
    """Return a number of cases in words, with the first of their names."""
    count = found if isinstance(found, int) else len(found)
    named = "" if isinstance(found, int) else f" ({', '.join(found[:3])}{' …' * (count > 3)})"
    return f"{count} case{'s' * (count != 1)}{named}"


@dataclass(frozen=True, repr=False)
class Report(Result):
    """A written report.

    Attributes
    ----------
    path
        ``index.html``; beside it are ``metrics.json``, ``tables/`` and ``figures/``.
    manuscript
        The manuscript kit, if one was asked for.
    """

    path: Path
    manuscript: Kit | None = None

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
        lines = [f"Report: {self.path.resolve()}"]
        if self.manuscript is not None:
            lines.append(f"Manuscript: {self.manuscript.folder.resolve()}")
            kept = ", ".join(self.manuscript.kept)
            lines += [f"Edited files are kept under other names: {kept}"] if kept else []
        return "\n".join(lines)

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
class ReaderStudy(Report):
    """The written analysis of a reader study."""

    @property
    def table(self) -> pd.DataFrame:
        """One row a reader, session and measure: ``reader_id, level, session, measure, …``."""
        rows = []
        for one in self.metrics["readers"]:
            who = {name: one[name] for name in ("reader_id", "level", "session")}
            for name, found in one.items():
                if isinstance(found, dict):
                    row = {key: found[key] for key in ("value", "low", "high")}
                    rows.append({**who, "measure": name, **row})
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        return Result._repr_html_(self)

    def __str__(self) -> str:
        metrics = self.metrics
        readers = len({one["reader_id"] for one in metrics["readers"]})
        lines = [f"{readers} readers, {metrics['cases']} cases"]
        effect = metrics.get("effect", {}).get("auc")
        if effect:
            change = effect["change"]
            text = f"AUC {_number(effect['unaided']['value'])} without, "
            text += f"{_number(effect['aided']['value'])} with AI"
            if change["p_value"] is not None:
                text += (
                    f": change {_number(change['difference'])} "
                    f"({_number(change['low'])} to {_number(change['high'])}), "
                    f"p = {change['p_value']:.3g}"
                )
            lines.append(text)
        return "\n".join([*lines, f"Reader study: {self.path.resolve()}"])


def _short(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else f"{value:.3g}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


@dataclass(frozen=True, repr=False)
class SampleSizes(Report):
    """The written sample sizes of a planned study."""

    @property
    def table(self) -> pd.DataFrame:
        """The sample sizes."""
        return pd.DataFrame(self.metrics["sizes"])

    def _repr_html_(self) -> str:
        return Result._repr_html_(self)

    def __str__(self) -> str:
        lines = self.table.to_string(index=False, na_rep="-", float_format=_short)
        return f"{lines}\n{self.metrics['conclusion']}\nSample size: {self.path.resolve()}"


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
        for kind in self.chain.kinds:
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
        for kind in self.chain.kinds:
            found = Counter(link.state for link in self.chain.of(kind))
            counts[kind] = {state: found[state] for state in STATES}
        return {
            "counts": counts,
            "not_current": [{name: getattr(link, name) for name in names} for link in links],
            "steps": [asdict(step) for step in self.steps],
        }

    def __str__(self) -> str:
        lines = [f"{'':<12} {'current':>8} {'stale':>8} {'missing':>8} {'elsewhere':>10}"]
        for kind in self.chain.kinds:
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
        about = f"about {duration(total)}" if total or not unknown else "no times are recorded yet"
        rest = " and the steps without a recorded time" if unknown and total else ""
        lines.append(f"'ctbone run' would make ({about}{rest}):")
        for step in self.steps:
            time = "" if step.seconds is None else f"  {duration(step.seconds)}"
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


def duration(seconds: float) -> str:
    """Return a time in words: seconds, minutes or hours."""
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


@dataclass(frozen=True, repr=False)
class ReaderLink(Result):
    """The link by which a reader logs in.

    Attributes
    ----------
    reader_id
        The reader.
    link
        Address of the page with the reader's secret after ``#``, which browsers do not send.
    """

    reader_id: str
    link: str

    @property
    def table(self) -> pd.DataFrame:
        """One row: ``reader_id, link``."""
        return pd.DataFrame([asdict(self)])

    def __str__(self) -> str:
        return (
            f"Reader {self.reader_id}: {self.link}\n"
            "The link is shown once; whoever has it can read as this reader."
        )


@dataclass(frozen=True, repr=False)
class ReadingProgress(Result):
    """How many cases each reader has read.

    Attributes
    ----------
    rows
        One row a reader and round, as ``ctbone.reading.reading_progress`` returns it.
    """

    rows: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """``reader_id, level, round, read, cases, state``; round 0 is the training round."""
        return self.rows

    def __str__(self) -> str:
        if self.rows.empty:
            return "No readers yet; add one with: ctbone read --add-reader r1 --level senior"
        names = {0: "training"} | {number: f"session {number}" for number in (1, 2)}
        shown = self.rows.assign(round=[names.get(one, "") for one in self.rows["round"]])
        return shown.to_string(index=False)


@dataclass(frozen=True, repr=False)
class ExportedScores(Result):
    """The scores of the reading page in a table.

    Attributes
    ----------
    path
        The table.
    scores
        Its rows.
    running
        One row a session that is not finished, whose scores are not in the table; as
        ``ReadingProgress.table``.
    """

    path: Path
    scores: pd.DataFrame
    running: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """``reader_id, level, session, case_id, score, read_at, seconds, order``."""
        return self.scores

    def __str__(self) -> str:
        readers = self.scores["reader_id"].nunique()
        lines = [f"Wrote {len(self.scores)} scores of {readers} readers to {self.path}"]
        lines += [
            f"Not in the table: {row.reader_id}, session {row.round}, {row.read} of {row.cases} "
            "cases read, not finished"
            for row in self.running.itertuples()
        ]
        return "\n".join(lines)


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
