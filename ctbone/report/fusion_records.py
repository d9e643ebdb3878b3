"""The records that a fusion leaves beside its table: which weights, how chosen, from which inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctbone.document.table import Column, Row, Table
from ctbone.errors import ReportError
from ctbone.report.gather import Source
from ctbone.study import Study, read_json, record_of


@dataclass(frozen=True)
class WeightCurve:
    """Validation AUC of each fold over the weight of one part."""

    part: str
    weight: tuple[float, ...]
    auc: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class FusionRecord:
    """How one fusion was made.

    Attributes
    ----------
    name, parts
        The fusion and what it fuses.
    how
        How the weights were chosen, in words.
    folds, mean, spread
        Weight of each part in each fold, its mean and its standard deviation.
    reader
        ``reader_id`` of the reader who took part.
    curve
        For two parts.
    """

    name: str
    parts: tuple[str, ...]
    how: str
    folds: dict[str, dict[str, float]]
    mean: dict[str, float]
    spread: dict[str, float] | None
    reader: str | None
    curve: WeightCurve | None


@dataclass(frozen=True)
class StackRecord:
    """What a stack is made of and what it learned.

    Attributes
    ----------
    name, parts, columns
        The stack, its probabilities and its clinical columns.
    how
        The stacker, in words.
    kind
        ``coefficients`` or ``importances``.
    folds
        By fold, the value of each encoded feature.
    reader
        ``reader_id`` of the reader who took part.
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
        The recalibrated table, and what it was made of.
    how
        The method, in words.
    folds
        By fold, the map in numbers.
    reader
        ``reader_id`` of the reader who took part.
    """

    name: str
    of: str
    how: str
    folds: dict[str, dict[str, float]]
    reader: str | None

    @property
    def parts(self) -> tuple[str, ...]:
        """What it is made of."""
        return (self.of,)


@dataclass(frozen=True)
class Records:
    """How every fused table was made.

    Attributes
    ----------
    fusions, stacks, recalibrations
        In the order of the report's sources.
    """

    fusions: tuple[FusionRecord, ...] = ()
    stacks: tuple[StackRecord, ...] = ()
    recalibrations: tuple[RecalibrationRecord, ...] = ()

    @property
    def all(self) -> tuple[FusionRecord | StackRecord | RecalibrationRecord, ...]:
        """Every record."""
        return (*self.fusions, *self.stacks, *self.recalibrations)

    @property
    def names(self) -> list[str]:
        """The fused tables."""
        return [record.name for record in self.all]


def fusion_records(study: Study, found: Sequence[Source]) -> Records:
    """Read the record of every weighted fusion, stack and recalibration that has one.

    Raises
    ------
    ReportError
        A record is not what ``ctbone fuse`` writes.
    """
    fusions, stacks, recalibrations = [], [], []
    for source in found:
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
                "this is not the record of a fusion",
                file=path,
                found=repr(error),
                remedy="run 'ctbone fuse' again",
            ) from error
    return Records(tuple(fusions), tuple(stacks), tuple(recalibrations))


def weight_table(records: Sequence[FusionRecord]) -> Table:
    """Show each part's weight: mean, standard deviation and range over the folds."""
    folds = sorted({fold for record in records for fold in record.folds}, key=int)
    columns = [
        Column("fusion", "Fusion", "text"),
        Column("part", "Part", "text"),
        Column("mean", "Mean", digits=2),
    ]
    columns += [Column("sd", "SD", digits=2)]
    columns += [Column(f"fold_{fold}", f"Fold {fold}", digits=2) for fold in folds]
    rows = [
        Row(
            (
                record.name,
                part,
                record.mean[part],
                record.spread[part] if record.spread else None,
                *(record.folds[fold][part] if fold in record.folds else None for fold in folds),
            ),
            opens=number == 0,
        )
        for record in records
        for number, part in enumerate(record.parts)
    ]
    note = "; ".join(dict.fromkeys(record.how for record in records)) + "."
    return Table(
        "fusion_weights",
        "Weights of the fusions",
        tuple(columns),
        tuple(rows),
        note[0].upper() + note[1:],
    )


def stack_table(records: Sequence[StackRecord]) -> Table:
    """Show what each stack made of each feature: mean, standard deviation, and fold by fold."""
    learned = [(record.name, record.folds) for record in records]
    words = [f"{record.name}: {record.how}; {_MEANING[record.kind]}" for record in records]
    return _learned_table(
        "stacks", "Stacks", ("stack", "Stack"), ("feature", "Feature"), learned, words
    )


def recalibration_table(records: Sequence[RecalibrationRecord]) -> Table:
    """Show the map of each recalibration: mean, standard deviation, and fold by fold."""
    learned = [(record.name, record.folds) for record in records]
    words = [f"{record.name}: {record.how}" for record in records]
    words.append(
        "Temperature 1, or intercept 0 and slope 1, would leave the probabilities as they were"
    )
    return _learned_table(
        "recalibrations", "Recalibrations", ("table", "Table"), ("number", "Number"), learned, words
    )


def _learned_table(
    key: str,
    title: str,
    first: tuple[str, str],
    second: tuple[str, str],
    learned: Sequence[tuple[str, dict[str, dict[str, float]]]],
    words: Sequence[str],
) -> Table:
    folds = sorted({fold for _, of_record in learned for fold in of_record}, key=int)
    columns = [Column(*first, "text"), Column(*second, "text"), Column("mean", "Mean", digits=2)]
    columns += [
        Column("sd", "SD", digits=2),
        *(Column(f"fold_{fold}", f"Fold {fold}", digits=2) for fold in folds),
    ]
    rows = []
    for name, of_record in learned:
        features = dict.fromkeys(feature for of_fold in of_record.values() for feature in of_fold)
        for number, feature in enumerate(features):
            values = [of_record[fold].get(feature) if fold in of_record else None for fold in folds]
            known = [value for value in values if value is not None]
            spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
            rows.append(
                Row((name, feature, float(np.mean(known)), spread, *values), opens=number == 0)
            )
    return Table(key, title, tuple(columns), tuple(rows), ". ".join(words) + ".")


_MEANING = {
    "coefficients": "coefficients per standard deviation, or per level",
    "importances": "importances, which add up to 1 and have no direction",
}


def _stack(name: str, content: dict[str, Any]) -> StackRecord:
    learned = content["learned"]
    kind = str(learned["kind"])
    return StackRecord(
        name=name,
        parts=tuple(map(str, content["parts"])),
        columns=tuple(map(str, content["columns"])),
        how=str(content["how"]),
        kind=kind if kind in _MEANING else _refuse(kind),
        folds=_by_fold(learned["folds"]),
        reader=content.get("reader"),
    )


def _recalibration(name: str, content: dict[str, Any]) -> RecalibrationRecord:
    return RecalibrationRecord(
        name,
        str(content["of"]),
        str(content["how"]),
        _by_fold(content["learned"]),
        content.get("reader"),
    )


def _by_fold(learned: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        str(int(fold)): {str(feature): float(value) for feature, value in of_fold.items()}
        for fold, of_fold in learned.items()
    }


def _refuse(kind: str) -> str:
    raise ValueError(f"unknown kind {kind}")


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
    )
