"""Records of the fused tables: weights, method, inputs, and whether a table is out of date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ctbone.custody import inspect
from ctbone.document import Notice
from ctbone.errors import ReportError
from ctbone.reporting.sources import Source
from ctbone.study import Study, read_json, record_of

STACKING_NUMBERS = {
    "coefficients": "coefficients per standard deviation, or per level",
    "importances": "importances, which add up to 1 and have no direction",
}


@dataclass(frozen=True)
class FusionRecord:
    """How one fusion was made.

    Attributes
    ----------
    name, parts
        The fusion and what it fuses.
    how
        How the weights were chosen, as text.
    folds, mean, spread
        Weight of each part: in each fold, mean and standard deviation over the folds.
    reader
        ``reader_id`` of the reader in the fusion, or None.
    curve
        Validation AUC against the weight, if there are two parts.
    """

    name: str
    parts: tuple[str, ...]
    how: str
    folds: dict[str, dict[str, float]]
    mean: dict[str, float]
    spread: dict[str, float] | None
    reader: str | None
    curve: WeightCurve | None
    reader_note: str = ""
    """Why this reader was chosen, how many scores are missing, and the scale of the scores."""


@dataclass(frozen=True)
class WeightCurve:
    """Validation AUC of each fold over the weight of one part."""

    part: str
    weight: tuple[float, ...]
    auc: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class StackingRecord:
    """How one stacked table was made.

    Attributes
    ----------
    name, parts, columns
        The table, the models in it and its clinical columns.
    how
        The stacking model, as text.
    kind
        ``coefficients`` or ``importances``.
    folds
        By fold, the coefficient or importance of each encoded feature.
    reader
        ``reader_id`` of the reader in the stack, or None.
    """

    name: str
    parts: tuple[str, ...]
    columns: tuple[str, ...]
    how: str
    kind: str
    folds: dict[str, dict[str, float]]
    reader: str | None


@dataclass(frozen=True)
class RecalibrationRecord:
    """How a table of probabilities was recalibrated.

    Attributes
    ----------
    name, of
        The recalibrated table, and the table that it recalibrates.
    how
        The method, as text.
    folds
        By fold, the parameters of the map.
    reader
        ``reader_id`` of the reader in the table, or None.
    """

    name: str
    of: str
    how: str
    folds: dict[str, dict[str, float]]
    reader: str | None

    @property
    def parts(self) -> tuple[str, ...]:
        """The table that it recalibrates."""
        return (self.of,)


@dataclass(frozen=True)
class Records:
    """The records of all fused tables.

    Attributes
    ----------
    fusions, stacks, recalibrations
        In the order of the sources.
    """

    fusions: tuple[FusionRecord, ...] = ()
    stacks: tuple[StackingRecord, ...] = ()
    recalibrations: tuple[RecalibrationRecord, ...] = ()

    @property
    def all(self) -> tuple[FusionRecord | StackingRecord | RecalibrationRecord, ...]:
        """Every record."""
        return (*self.fusions, *self.stacks, *self.recalibrations)

    @property
    def names(self) -> list[str]:
        """The fused tables."""
        return [record.name for record in self.all]

    def as_dict(self) -> dict[str, Any]:
        """Return ``fusion``, ``stacking`` and ``recalibration`` of ``metrics.json``."""
        return {
            "fusion": {
                r.name: {
                    "parts": list(r.parts),
                    "folds": r.folds,
                    "mean": r.mean,
                    "sd": r.spread,
                    "reader": r.reader,
                }
                for r in self.fusions
            },
            "stacking": {
                r.name: {
                    "parts": list(r.parts),
                    "columns": list(r.columns),
                    r.kind: r.folds,
                    "reader": r.reader,
                }
                for r in self.stacks
            },
            "recalibration": {
                r.name: {"of": r.of, "how": r.how, "folds": r.folds, "reader": r.reader}
                for r in self.recalibrations
            },
        }


def fusion_records(study: Study, tables: Sequence[Source]) -> Records:
    """Read the records of the weighted fusions, stacks and recalibrations that have one.

    Raises
    ------
    ReportError
        A record is not what ``ctbone fuse`` writes.
    """
    fusions, stacks, recalibrations = [], [], []
    for source in tables:
        path = record_of(source.path)
        if not source.fused or not path.is_file():
            continue
        content = read_json(path)
        try:
            if "stacker" in content:
                stacks.append(_stack(source.name, content))
            elif "method" in content:
                recalibrations.append(_recalibration(source.name, content))
            else:
                fusions.append(_record(source.name, content))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReportError(
                "not the record of a fusion",
                file=path,
                found=repr(error),
                remedy="run 'ctbone fuse' again",
            ) from error
    return Records(tuple(fusions), tuple(stacks), tuple(recalibrations))


def _record(name: str, content: dict[str, Any]) -> FusionRecord:
    weights, curve = content["weights"], content.get("curve")
    parts = tuple(str(part) for part in content["parts"])
    return FusionRecord(
        name=name,
        parts=parts,
        how=str(content["how"]),
        folds={
            str(int(fold)): {part: float(of[part]) for part in parts}
            for fold, of in weights["folds"].items()
        },
        mean={part: float(weights["mean"][part]) for part in parts},
        spread={part: float(weights["sd"][part]) for part in parts} if weights.get("sd") else None,
        reader=content.get("reader"),
        curve=WeightCurve(
            str(curve["part"]),
            tuple(map(float, curve["weight"])),
            {str(fold): tuple(map(float, areas)) for fold, areas in curve["auc"].items()},
        )
        if curve
        else None,
        reader_note=_reader_note(content),
    )


def _reader_note(content: dict[str, Any]) -> str:
    """Describe the choice of the reader; empty for fusions without one and for old records."""
    choice, scale = content.get("reader_choice"), content.get("score_scale")
    if not choice or not scale:
        return ""
    missing = choice["missing_scores"]
    gaps = f"; {missing} scores are missing" if missing else ""
    return f"{choice['why']}{gaps}; scores {scale['words']}"


def _stack(name: str, content: dict[str, Any]) -> StackingRecord:
    learned = content["learned"]
    kind = str(learned["kind"])
    return StackingRecord(
        name=name,
        parts=tuple(map(str, content["parts"])),
        columns=tuple(map(str, content["columns"])),
        how=str(content["how"]),
        kind=kind if kind in STACKING_NUMBERS else _refuse(kind),
        folds=_by_fold(learned["folds"]),
        reader=content.get("reader"),
    )


def _recalibration(name: str, content: dict[str, Any]) -> RecalibrationRecord:
    return RecalibrationRecord(
        name=name,
        of=str(content["of"]),
        how=str(content["how"]),
        folds=_by_fold(content["learned"]),
        reader=content.get("reader"),
    )


def _by_fold(learned: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        str(int(fold)): {str(feature): float(value) for feature, value in of_fold.items()}
        for fold, of_fold in learned.items()
    }


def _refuse(kind: str) -> str:
    raise ValueError(f"unknown kind {kind}")


def stale_notices(study: Study) -> list[Notice]:
    """Warn of fused tables that the settings of now would not make."""
    links = inspect(study).of("fusion")
    texts = [f"{link.name} ({link.because})" for link in links if link.cause == "settings"]
    if not texts:
        return []
    text = (
        f"These fused tables do not belong to the current settings: {'; '.join(texts)}. "
        "Run 'ctbone fuse' again, or delete the tables that are not needed."
    )
    return [Notice("Out of date.", text)]
