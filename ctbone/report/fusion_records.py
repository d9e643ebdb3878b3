"""The records that a fusion leaves beside its table: which weights, how chosen, from which inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ctbone.config import READER
from ctbone.report.answers import ReportError
from ctbone.report.gather import Source
from ctbone.report.table import Column, Row, Table
from ctbone.study import Study, file_hash, read_json, record_of


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
    stale
        Inputs that have changed since.
    """

    name: str
    parts: tuple[str, ...]
    how: str
    folds: dict[str, dict[str, float]]
    mean: dict[str, float]
    spread: dict[str, float] | None
    reader: str | None
    curve: WeightCurve | None
    stale: tuple[str, ...]


def fusion_records(study: Study, found: Sequence[Source]) -> list[FusionRecord]:
    """Read the record of every fusion that has one.

    Raises
    ------
    ReportError
        A record is not what ``ctbone fuse`` writes.
    """
    records = []
    for source in found:
        path = record_of(source.path)
        if not source.fused or not path.is_file():
            continue
        content = read_json(path)
        try:
            records.append(_record(study, source.name, content))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReportError(
                "this is not the record of a fusion", file=path, found=repr(error), remedy="run 'ctbone fuse' again"
            ) from error
    return records


def weight_table(records: Sequence[FusionRecord]) -> Table:
    """Show each part's weight: mean, standard deviation and range over the folds."""
    folds = sorted({fold for record in records for fold in record.folds}, key=int)
    columns = [Column("fusion", "Fusion", "text"), Column("part", "Part", "text"), Column("mean", "Mean", digits=2)]
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
    return Table("fusion_weights", "Weights of the fusions", tuple(columns), tuple(rows), note[0].upper() + note[1:])


def _record(study: Study, name: str, content: dict[str, Any]) -> FusionRecord:
    weights, curve = content["weights"], content.get("curve")
    parts = tuple(str(part) for part in content["parts"])
    return FusionRecord(
        name=name,
        parts=parts,
        how=str(content["how"]),
        folds={str(int(fold)): {part: float(of[part]) for part in parts} for fold, of in weights["folds"].items()},
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
        stale=tuple(part for part in parts if part != READER and _changed(study, part, content)),
    )


def _changed(study: Study, part: str, content: dict[str, Any]) -> bool:
    path = study.predictions(part)
    return path.is_file() and content.get("inputs", {}).get(part) not in (None, file_hash(path))
