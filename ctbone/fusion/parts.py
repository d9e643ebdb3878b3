"""The parts of a fusion: tables of probabilities, aligned row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort
from ctbone.errors import FusionError
from ctbone.predictions import probability_columns
from ctbone.study import Study
from ctbone.study_predictions import read_study_predictions

KEYS = ["split", "fold", "case_id"]
_NO_FOLD = -1


@dataclass(frozen=True)
class Parts:
    """The probabilities of several parts for the same rows.

    Attributes
    ----------
    names
        The names of the parts: models, and the reader if one takes part.
    rows
        One row a case, split and fold: ``case_id, patient_id, cohort, fold, split, label``. The
        fold of an external case is missing; its probabilities are means over the folds.
    probabilities
        Shape (parts, rows, classes), 0–1.
    """

    names: tuple[str, ...]
    rows: pd.DataFrame
    probabilities: np.ndarray

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds in which internal cases are tested."""
        return tuple(
            sorted(
                {int(fold) for fold in self.rows.loc[self.rows["split"] == "test", "fold"].dropna()}
            )
        )

    def of(self, split: str, fold: int | None = None) -> np.ndarray:
        """Return which rows belong to a split and, where given, a fold; shape (rows,), bool."""
        mask = (self.rows["split"] == split).to_numpy()
        return (
            mask
            if fold is None
            else mask & (self.rows["fold"] == fold).fillna(False).to_numpy(bool)
        )


def read_part(study: Study, path: Path, cohort: Cohort) -> pd.DataFrame:
    """Read one model's probabilities and check them against the cohort and the folds.

    External cases are averaged over the folds.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``split, fold, case_id``; ``label`` and one column a class. A missing fold is -1.

    Raises
    ------
    FusionError
        The table has no rows of whole cases.
    PredictionError, FoldError, StudyError
        The table has errors, or contradicts the cohort, the folds or itself.
    """
    table = read_study_predictions(study, path, cohort)
    table = table[table["view"] == ""]
    if table.empty:
        raise FusionError(
            "the table has no probabilities of whole cases",
            file=path,
            expected="rows with an empty view",
        )
    table = table.assign(fold=table["fold"].fillna(_NO_FOLD).astype(int))
    table.loc[table["split"] == "external", "fold"] = _NO_FOLD
    columns = probability_columns(study.settings.classes)
    return table.groupby([*KEYS, "label"], sort=False)[columns].mean().reset_index("label")


def align(
    tables: Mapping[str, pd.DataFrame], cohort: Cohort, classes: Sequence[str], *, fitted: bool
) -> Parts:
    """Align the parts row by row; every part needs every row.

    Parameters
    ----------
    tables
        Name of each part and its table, as ``read_part`` returns it.
    cohort
        Patient, cohort and label of each case.
    classes
        The classes of the study.
    fitted
        Whether the weights are fitted, for which every part needs validation rows. Otherwise a
        table of another program may lack validation rows and folds.

    Raises
    ------
    FusionError
        A part lacks a case, or has it in another fold.
    """
    tables = dict(tables) if fitted else _without_folds(tables)
    first, *others = tables
    for other in others:
        for there, here in ((first, other), (other, first)):
            _refuse_gaps(there=tables[there], there_name=there, here=tables[here], here_name=here)
    index = tables[first].index
    cases = {case.case_id: case for case in cohort}
    rows = index.to_frame(index=False)
    of_rows = [cases[name] for name in rows["case_id"]]
    rows["fold"] = rows["fold"].astype("Int64").replace(_NO_FOLD, pd.NA)
    for column in ("patient_id", "cohort", "label"):
        rows[column] = [getattr(case, column) for case in of_rows]
    stacked = np.stack(
        [
            table.reindex(index)[probability_columns(classes)].to_numpy(float)
            for table in tables.values()
        ]
    )
    return Parts(tuple(tables), rows, stacked)


def _without_folds(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Give parts without folds those of the others; drop validation rows unless all have some."""
    splits = [set(table.index.get_level_values("split")) for table in tables.values()]
    if not all("val" in found for found in splits):
        tables = {
            name: table[table.index.get_level_values("split") != "val"]
            for name, table in tables.items()
        }
    known: dict[str, int] = {}
    for table in tables.values():
        tested = table[table.index.get_level_values("split") == "test"].index
        known |= {case: fold for _, fold, case in tested if fold != _NO_FOLD}
    return {name: _take_folds(table, known) for name, table in tables.items()}


def _take_folds(table: pd.DataFrame, known: Mapping[str, int]) -> pd.DataFrame:
    keys = [
        (split, known.get(case, fold) if split == "test" and fold == _NO_FOLD else fold, case)
        for split, fold, case in table.index
    ]
    return table.set_axis(pd.MultiIndex.from_tuples(keys, names=KEYS), axis=0)


def _refuse_gaps(there: pd.DataFrame, there_name: str, here: pd.DataFrame, here_name: str) -> None:
    """Check that the part ``here`` has every row of the part ``there``."""
    gaps = there.index.difference(here.index, sort=False)
    if gaps.empty:
        return
    split, fold, case = gaps[0]
    elsewhere = [int(key[1]) for key in here.index if key[2] == case and key[0] == split]
    if elsewhere and split == "test" and _NO_FOLD in (fold, elsewhere[0]):
        name = there_name if fold == _NO_FOLD else here_name
        raise FusionError(
            f"'{name}' has no folds, so no weights can be fitted for it",
            case=case,
            expected="the fold of each test case, and validation rows",
            remedy="fill the fold column and add rows with split 'val', "
            "or set fusion.weights to 'equal' or to given weights",
        )
    if elsewhere and split == "test":
        raise FusionError(
            f"the case is tested in different folds by '{there_name}' and '{here_name}'",
            case=case,
            found=f"fold {_fold_name(elsewhere[0])} in '{here_name}'",
            expected=f"fold {_fold_name(fold)}, as in '{there_name}'",
            remedy="make both with the same folds.csv",
        )
    where = split if fold == _NO_FOLD else f"{split} rows of fold {fold}"
    more = f" ({len(gaps)} rows in all)" if len(gaps) > 1 else ""
    remedy = "complete the table; the same stages must have run for every part"
    if split == "val":
        remedy += (
            "; if a part cannot have validation rows, "
            "set fusion.weights to 'equal' or to given weights"
        )
    raise FusionError(
        f"'{here_name}' lacks this case, which '{there_name}' has in its {where}{more}",
        case=case,
        expected="the same cases, splits and folds in every part",
        remedy=remedy,
    )


def _fold_name(fold: int) -> str:
    return "(empty)" if fold == _NO_FOLD else str(fold)
