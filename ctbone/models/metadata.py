"""Clinical columns as a network's second input: encoded by what the training part holds, and by nothing else."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from ctbone.cohort import Case
from ctbone.errors import ModelError
from ctbone.study import content_hash

_MOST_LEVELS = 12


@dataclass(frozen=True)
class Column:
    """How one clinical column is encoded.

    Attributes
    ----------
    name
        The column of ``cohort.csv``.
    kind
        ``number``: one number, less the mean, by the standard deviation. ``level``: one number a level, 1 or 0.
    mean, deviation
        Of the training part's known numbers.
    levels
        Of the training part, in order.
    missing
        Whether the training part had empty cells; one more number, 1 or 0, then says that a cell is empty.
    """

    name: str
    kind: Literal["number", "level"]
    mean: float = 0.0
    deviation: float = 1.0
    levels: tuple[str, ...] = ()
    missing: bool = False

    @property
    def width(self) -> int:
        """Numbers that a cell becomes."""
        return (1 if self.kind == "number" else len(self.levels)) + self.missing

    def encode(self, case: Case) -> list[float]:
        """Encode one case's cell: an empty one is the mean, or no level; a level that training never saw is empty."""
        cell = _cell(case, self.name)
        if self.kind == "level":
            empty = cell not in self.levels
            values = [float(cell == level) for level in self.levels]
        else:
            empty = not cell
            number = self.mean if empty else _number(cell)
            if number is None:
                raise ModelError(
                    f"the clinical column '{self.name}' holds numbers",
                    case=case.case_id,
                    found=repr(cell),
                    remedy="mend the cell in cohort.csv, or leave it empty",
                )
            values = [(number - self.mean) / self.deviation]
        return [*values, float(empty)] if self.missing else values


@dataclass(frozen=True)
class Encoding:
    """How a fold's network takes the clinical columns; it travels with the weights, in the card."""

    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """Numbers that a case becomes."""
        return sum(column.width for column in self.columns)

    def encode(self, cases: Sequence[Case]) -> torch.Tensor:
        """Return the second input of these cases, float32, (cases, width).

        Raises
        ------
        ModelError
            The cohort lacks a column, or text stands in one that holds numbers; the case is named.
        """
        _refuse_absent(cases, [column.name for column in self.columns])
        rows = [
            [value for column in self.columns for value in column.encode(case)] for case in cases
        ]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(cases), self.width)

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return {
            "columns": [asdict(column) | {"levels": list(column.levels)} for column in self.columns]
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Encoding:
        """Read what ``to_json`` gave.

        Raises
        ------
        ModelError
            It is something else.
        """
        try:
            return cls(
                tuple(
                    Column(**column | {"levels": tuple(column["levels"])})
                    for column in content["columns"]
                )
            )
        except (KeyError, TypeError) as error:
            raise ModelError(
                "the card's encoding of the clinical columns cannot be read"
            ) from error


def fit_encoding(cases: Sequence[Case], columns: Sequence[str]) -> Encoding:
    """Say how clinical columns are encoded, from the cases of a fold's training part.

    A column whose known cells are all numbers is a number, any other a level. Which cells are empty
    is the cohort's to say.

    Parameters
    ----------
    cases
        The training part.
    columns
        Names of further columns of ``cohort.csv``.

    Raises
    ------
    ModelError
        There is no such column (the nearest is named), it is empty in this part, or it is free text.

    Examples
    --------
    >>> from pathlib import Path
    >>> ages = [Case(age, age, "benign", "internal", Path(), None, (("age", age),)) for age in ("30", "40", "50")]
    >>> fit_encoding(ages, ["age"]).encode(ages).flatten()
    tensor([-1.2247,  0.0000,  1.2247])
    """
    _refuse_absent(cases, columns)
    return Encoding(tuple(_fit(cases, name) for name in columns))


def refuse_giveaway(cases: Sequence[Case], columns: Sequence[str]) -> None:
    """Stop where a clinical column says the class of every case, as one that was filled after the diagnosis does.

    Raises
    ------
    ModelError
        The column is named; or the cohort has no such column.
    """
    _refuse_absent(cases, columns)
    for name in columns:
        classes: dict[str, set[str]] = {}
        for case in cases:
            classes.setdefault(_cell(case, name), set()).add(case.label)
        text = any(_number(cell) is None for cell in classes if cell)
        if (
            text
            and 1 < len(classes) <= _MOST_LEVELS
            and all(len(found) == 1 for found in classes.values())
        ):
            raise ModelError(
                "the clinical column gives the class of every case away",
                found=name,
                expected="what is known before the diagnosis",
                remedy="leave it out of the model's metadata",
            )


def metadata_digest(cases: Sequence[Case], columns: Sequence[str]) -> str:
    """Return a digest that changes when any of these cells does."""
    return content_hash(
        sorted((case.case_id, [_cell(case, name) for name in columns]) for case in cases)
    )


def _fit(cases: Sequence[Case], name: str) -> Column:
    cells = [_cell(case, name) for case in cases]
    known = [cell for cell in cells if cell]
    if not known:
        remedy = "fill it, or leave it out of the model's metadata"
        raise ModelError(
            "the clinical column is empty in the training part", found=name, remedy=remedy
        )
    missing = len(known) < len(cells)
    numbers = [number for number in map(_number, known) if number is not None]
    if len(numbers) == len(known):
        deviation = float(np.std(numbers))
        return Column(name, "number", float(np.mean(numbers)), deviation or 1.0, missing=missing)
    levels = sorted(set(known))
    if len(levels) > _MOST_LEVELS:
        raise ModelError(
            "the clinical column is free text, or names the patients",
            found=f"{name} with {len(levels)} different texts",
            expected=f"numbers, or {_MOST_LEVELS} levels at most",
        )
    return Column(name, "level", levels=tuple(levels), missing=missing)


def _refuse_absent(cases: Sequence[Case], columns: Sequence[str]) -> None:
    present = list(dict.fromkeys(name for case in cases for name, _ in case.metadata))
    for name in columns:
        if cases and name not in present:
            nearest = difflib.get_close_matches(name, present, n=1)
            raise ModelError(
                "the cohort has no such clinical column",
                found=name,
                expected=", ".join(present) or "further columns in cohort.csv",
                remedy=f"did you mean '{nearest[0]}'?" if nearest else "add it to cohort.csv",
            )


def _cell(case: Case, name: str) -> str:
    return dict(case.metadata).get(name, "").strip()


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
