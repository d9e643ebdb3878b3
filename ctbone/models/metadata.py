"""Clinical columns as a network's second input: their encoding, and the network that takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ctbone.clinical import ClinicalColumn, clinical_column, number_of
from ctbone.cohort import Case
from ctbone.errors import ModelError
from ctbone.study import content_hash

_HIDDEN = 32
"""Units of each of the perceptron's two layers."""


@dataclass(frozen=True)
class Column:
    """How one clinical column is encoded.

    Attributes
    ----------
    name
        The column of ``cohort.csv``.
    kind
        ``number``: one number, minus the mean, divided by the standard deviation. ``level``: one
        number a level, 1 or 0.
    mean, deviation
        Of the training part's known numbers.
    levels
        Of the training part, sorted.
    missing
        Whether the training part has empty cells; one more number, 1 or 0, then marks an empty
        cell.
    """

    name: str
    kind: Literal["number", "level"]
    mean: float = 0.0
    deviation: float = 1.0
    levels: tuple[str, ...] = ()
    missing: bool = False

    @property
    def width(self) -> int:
        """Numbers that encode one cell."""
        return (1 if self.kind == "number" else len(self.levels)) + self.missing

    def encode(self, cell: str, case_id: str) -> list[float]:
        """Encode one cell: an empty one is the mean, or no level.

        A level that the training part does not hold counts as empty.
        """
        if self.kind == "level":
            empty = cell not in self.levels
            values = [float(cell == level) for level in self.levels]
        else:
            empty = not cell
            number = self.mean if empty else number_of(cell)
            if number is None:
                raise ModelError(
                    f"the clinical column '{self.name}' holds numbers",
                    case=case_id,
                    found=repr(cell),
                    remedy="correct the cell in cohort.csv, or leave it empty",
                )
            values = [(number - self.mean) / self.deviation]
        return [*values, float(empty)] if self.missing else values


@dataclass(frozen=True)
class Encoding:
    """Encoding of a fold's clinical columns; the fold's card stores it beside the weights."""

    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """Numbers that encode one case."""
        return sum(column.width for column in self.columns)

    def encode(self, cases: Sequence[Case]) -> torch.Tensor:
        """Return the second input of these cases, float32, (cases, width).

        Raises
        ------
        ModelError
            The cohort lacks a column, or a column of numbers holds text; the case is named.
        """
        tables = [clinical_column(cases, column.name, ModelError).cells for column in self.columns]
        rows = []
        for number, case in enumerate(cases):
            row: list[float] = []
            for column, cells in zip(self.columns, tables, strict=True):
                row += column.encode(cells[number], case.case_id)
            rows.append(row)
        return torch.tensor(rows, dtype=torch.float32).reshape(len(cases), self.width)

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return {
            "columns": [asdict(column) | {"levels": list(column.levels)} for column in self.columns]
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Encoding:
        """Read what ``to_json`` returned.

        Raises
        ------
        ModelError
            The content has another form.
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
    """Fit the encoding of clinical columns on the cases of a fold's training part.

    A column whose known cells are all numbers is a number, any other column a level.

    Parameters
    ----------
    cases
        The training part.
    columns
        Names of further columns of ``cohort.csv``.

    Raises
    ------
    ModelError
        A column does not exist (the nearest is named), is empty in this part, or is free text.

    Examples
    --------
    >>> from pathlib import Path
    >>> ages = [Case(age, age, "benign", "internal", Path(), None, (("age", age),))
    ...         for age in ("30", "40", "50")]
    >>> fit_encoding(ages, ["age"]).encode(ages).flatten()
    tensor([-1.2247,  0.0000,  1.2247])
    """
    return Encoding(tuple(_fit(clinical_column(cases, name, ModelError)) for name in columns))


def _fit(column: ClinicalColumn) -> Column:
    column.require_usable(ModelError, where=" in the training part")
    missing = len(column.known) < len(column.cells)
    if column.kind == "level":
        return Column(column.name, "level", levels=column.levels, missing=missing)
    numbers = [number for number in map(number_of, column.known) if number is not None]
    mean, deviation = float(np.mean(numbers)), float(np.std(numbers))
    return Column(column.name, "number", mean=mean, deviation=deviation or 1.0, missing=missing)


def metadata_digest(cases: Sequence[Case], columns: Sequence[str]) -> str:
    """Return a digest that changes when any cell of these columns does."""
    rows = []
    for case in cases:
        cells = dict(case.metadata)
        rows.append((case.case_id, [cells.get(name, "").strip() for name in columns]))
    return content_hash(sorted(rows))


class WithMetadata(nn.Module):
    """An image backbone and a perceptron for the metadata, joined before one last linear layer.

    The perceptron has two layers of 32 units; the last layer takes the backbone's features and
    these 32 numbers.

    Parameters
    ----------
    image
        A backbone that returns logits; its last linear layer is removed.
    metadata
        Numbers that encode one case's metadata.
    classes
        Number of outputs.

    Raises
    ------
    ModelError
        The backbone has no linear layer.
    """

    def __init__(self, image: nn.Module, metadata: int, classes: int) -> None:
        super().__init__()
        self.classifier_names, features = _remove_classifier(image)
        self.image = image
        self.perceptron = nn.Sequential(
            nn.Linear(metadata, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()
        )
        self.last = nn.Linear(features + _HIDDEN, classes)

    def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), from (batch, channels, …grid) and (batch, metadata)."""
        return self.last(torch.cat([self.image(image), self.perceptron(metadata)], dim=1))


def _remove_classifier(network: nn.Module) -> tuple[frozenset[str], int]:
    """Replace the last linear layer by the identity; return its tensors' names and its inputs."""
    linear = [
        (name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)
    ]
    if not linear:
        raise ModelError("metadata cannot join a network without a last linear layer")
    name, last = linear[-1]
    owner, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(owner), attribute, nn.Identity())
    return frozenset({f"{name}.weight", f"{name}.bias"}), last.in_features
