"""Tables of probabilities of each fold, and the table that joins them.

Training writes a fold's validation and test rows, inference its external rows, each beside the
weights. ``predictions/<model>.csv`` is always rebuilt from these, so the stages can run again in
any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ctbone.cohort import Cohort
from ctbone.custody import crop_digests
from ctbone.errors import ModelError
from ctbone.models.metadata import metadata_digest
from ctbone.models.trained import card_file, read_card
from ctbone.predictions import read_predictions, write_predictions
from ctbone.study import Study, content_hash, file_hash, provenance, read_json, record_of

Part = Literal["internal", "external"]
_PARTS: tuple[Part, ...] = ("internal", "external")


def fold_table(study: Study, model: str, fold: int, part: Part) -> Path:
    """Return the file of a fold's validation and test rows (internal), or of its external rows."""
    return study.run_folder(model, fold) / f"predictions_{part}.csv"


def write_fold_table(
    study: Study, model: str, fold: int, part: Part, rows: pd.DataFrame, record: dict
) -> None:
    """Write a fold's rows; ``record`` names their weights and cases."""
    write_predictions(fold_table(study, model, fold, part), rows, study.settings.classes, record)


def table_record(
    study: Study, model: str, *, weights: str, cohort: Cohort, part: Part
) -> dict[str, Any]:
    """Return what a fold's rows depend on: digests of the weights, of the cases and of their crops.

    The digest of the cases covers their patients and labels, and the cells of the clinical columns
    that the model takes.
    """
    cases = cohort.internal if part == "internal" else cohort.external
    ours = study.settings.models[model]
    record = {
        "weights": weights,
        "cases": content_hash(sorted((c.case_id, c.patient_id, c.cohort, c.label) for c in cases)),
        "crops": crop_digests(study, cases, ours.dim, masks=ours.mask != "none"),
    }
    if ours.metadata:
        record["metadata"] = metadata_digest(cases, ours.metadata)
    return record


def join_fold_tables(study: Study, model: str, cohort: Cohort) -> Path | None:
    """Join the rows of every finished fold into ``predictions/<model>.csv``.

    External rows of earlier weights or of other cases are left out: 'ctbone predict' makes them
    again. Jobs that train single folds may join at the same time: each checks after writing whether
    another fold was finished meanwhile, and then joins again, so the last table has all folds.

    Returns
    -------
    Path or None
        The table; None if no fold is finished.
    """
    while True:
        finished = _finished(study, model)
        if not finished:
            return None
        path = _write_joined(study, model, cohort, finished)
        if _finished(study, model) == finished:
            return path


def _finished(study: Study, model: str) -> dict[int, str]:
    """Return the digest of the card of each finished fold."""
    cards = {fold: card_file(study, model, fold) for fold in range(study.settings.folds.count)}
    return {fold: file_hash(card) for fold, card in cards.items() if card.is_file()}


def _write_joined(study: Study, model: str, cohort: Cohort, folds: Iterable[int]) -> Path:
    parts: list[pd.DataFrame] = []
    weights: dict[str, str] = {}
    crops: dict[str, str] = {}
    records = {
        part: table_record(study, model, weights="", cohort=cohort, part=part) for part in _PARTS
    }
    for fold in folds:
        card = read_card(study, model, fold)
        weights[f"fold{fold}"] = card.weights_sha256
        for part, record in records.items():
            file = fold_table(study, model, fold, part)
            if is_current(file, {**record, "weights": card.weights_sha256}):
                parts.append(read_predictions(file, study.settings.classes))
                crops |= record["crops"]
            elif part == "internal":
                raise ModelError(
                    f"the predictions of fold {fold} are missing or not of its weights",
                    file=file,
                    remedy=f"delete the folder {file.parent} and run 'ctbone train' again",
                )
    path = study.predictions_csv(model)
    table = pd.concat(parts, ignore_index=True)
    record = {
        **provenance(study, "predictions", {"folds": study.folds_csv}),
        "model": model,
        "weights": weights,
        "crops": crops,
    }
    write_predictions(path, table, study.settings.classes, record)
    return path


def is_current(file: Path, expected: dict[str, Any]) -> bool:
    """Whether a fold's rows exist and their record agrees with ``expected``, a ``table_record``."""
    if not file.is_file() or not record_of(file).is_file():
        return False
    record = read_json(record_of(file))
    return {name: record.get(name) for name in expected} == expected
