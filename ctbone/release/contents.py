"""The typed content of a model file: ``release.json``, checked on reading and on writing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ctbone.config import Name, Settings

FORMAT = 2
"""Version of the file format; a reader of another version refuses the file."""

LEVELS = (0.01, *(k / 20 for k in range(1, 20)), 0.99)
"""Levels of the stored quantiles; minimum and maximum belong to single patients and are left out.
"""

_MARGIN = 0.1
"""Share of the distance between the outer quantiles by which a value may lie beyond them. Without
it, 2 % of the training cases themselves would be outside, in each of about fifteen numbers."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Numbers(_Part):
    """Distribution of a number over the training cases: aggregates only.

    Attributes
    ----------
    n, mean, sd
        Cases with a value; their mean and standard deviation.
    quantiles
        At ``LEVELS``, interpolated linearly between cases.
    """

    n: Annotated[int, Field(ge=1)]
    mean: Finite
    sd: Finite
    quantiles: Annotated[tuple[Finite, ...], Field(min_length=len(LEVELS), max_length=len(LEVELS))]

    @classmethod
    def of(cls, values: np.ndarray) -> Numbers:
        """Summarise values, shape (n,), to four significant digits."""
        own = np.asarray(values, dtype=np.float64)
        return cls(
            n=own.size,
            mean=_short(own.mean()),
            sd=_short(own.std(ddof=1)) if own.size > 1 else 0.0,
            quantiles=tuple(map(_short, np.quantile(own, LEVELS))),
        )

    @property
    def low(self) -> float:
        """Lowest value that counts as inside."""
        return self.quantiles[0] - _MARGIN * (self.quantiles[-1] - self.quantiles[0])

    @property
    def high(self) -> float:
        """Highest value that counts as inside."""
        return self.quantiles[-1] + _MARGIN * (self.quantiles[-1] - self.quantiles[0])

    def percentile(self, value: float) -> float:
        """Return the share of the training cases below a value, in percent."""
        return round(100 * float(np.interp(value, self.quantiles, LEVELS, left=0, right=1)), 1)


class TrainingRange(_Part):
    """Scans, lesions and patients of the training cohort.

    Attributes
    ----------
    cases
        Internal cases of the study.
    numbers
        Distribution of each number, by its name in ``facts.NUMBERS`` or its clinical column.
    levels
        By scanner, kernel, contrast or clinical column: how many cases have each level. Levels of
        fewer than ``facts.FEWEST`` patients are counted together under an empty name.
    """

    cases: int
    numbers: dict[Label, Numbers]
    levels: dict[Label, dict[Label, int]]


class Limit(_Part):
    """Conformal limit of one class; see ``ctbone.stats.ConformalLimit``."""

    n: int
    limit: Finite
    low: Share
    high: Share
    range_low: Share
    range_high: Share


class FoldMap(_Part):
    """Recalibration of one fold: temperature, Platt scaling, or knots of isotonic regression."""

    temperature: Annotated[float, Field(gt=0)] | None = None
    intercept: Finite | None = None
    slope: Finite | None = None
    probabilities: tuple[Share, ...] | None = None
    calibrated: tuple[Share, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> FoldMap:
        platt = self.intercept is not None and self.slope is not None
        isotonic = bool(self.probabilities) and self.calibrated is not None
        if sum([self.temperature is not None, platt, isotonic]) != 1:
            raise ValueError("one of temperature, intercept with slope, and knots is expected")
        if isotonic and len(self.probabilities or ()) != len(self.calibrated or ()):
            raise ValueError("the knots of an isotonic map differ in number")
        return self


class StackFold(_Part):
    """Logistic regression of one fold over log ratios of probabilities and clinical columns.

    Attributes
    ----------
    numbers
        Names of the numeric features: ``part:place`` is the log ratio of the class at that place
        to the first class; others are clinical columns.
    medians
        Of each number, for a missing value.
    indicators
        Places among ``numbers`` that have an indicator of missing values, after the numbers.
    mean, deviation
        Of numbers and indicators, before standardisation.
    levels
        By clinical column, the levels that are encoded as 0 and 1; others are all 0.
    coefficients, intercept
        One row a class, or one for the second of two classes.
    """

    numbers: tuple[Label, ...]
    medians: tuple[Finite, ...]
    indicators: tuple[Annotated[int, Field(ge=0)], ...] = ()
    mean: tuple[Finite, ...]
    deviation: tuple[Annotated[Finite, Field(gt=0)], ...]
    levels: dict[Label, tuple[Label, ...]] = {}
    coefficients: tuple[tuple[Finite, ...], ...]
    intercept: tuple[Finite, ...]

    @model_validator(mode="after")
    def _sizes_agree(self) -> StackFold:
        numeric = len(self.numbers) + len(self.indicators)
        width = numeric + sum(map(len, self.levels.values()))
        if len(self.medians) != len(self.numbers) or max(self.indicators, default=-1) >= len(
            self.numbers
        ):
            raise ValueError("the medians or indicators of a stack are not those of its numbers")
        if {len(self.mean), len(self.deviation)} != {numeric}:
            raise ValueError("a stack needs a mean and a deviation for each number")
        if {len(row) for row in self.coefficients} != {width}:
            raise ValueError("a stack needs a coefficient for each feature")
        if len(self.intercept) != len(self.coefficients):
            raise ValueError("a stack needs an intercept for each row of coefficients")
        return self


class Answer(_Part):
    """One probability that the file gives: of a model, a reader, or what is made of them.

    Attributes
    ----------
    name, kind
        Its name in the study, and what it is.
    weights
        Of a combination: each part's weight, the mean over the folds. Of a stack: its parts, 1
        each. Of others: its source, 1; of a reader: none.
    maps
        Of a recalibration: the map of each fold; its probability is their mean.
    stack, columns
        Of a stack: the regression of each fold, whose mean is its probability, and its clinical
        columns.
    threshold
        Lowest probability of a positive case; None with more than two classes.
    conformal
        The limit of each class; None where ``no_conformal`` says why.
    """

    name: Name
    kind: Literal["model", "reader", "combination", "stack", "recalibration"]
    weights: dict[Name, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    maps: tuple[FoldMap, ...] = ()
    stack: tuple[StackFold, ...] = ()
    columns: tuple[Label, ...] = ()
    threshold: Share | None = None
    conformal: dict[Name, Limit] | None = None
    no_conformal: str | None = None


class Normalisation(_Part):
    """Mean and deviation of the training part, a number a channel."""

    mean: Annotated[list[Finite], Field(min_length=1)]
    deviation: Annotated[list[Annotated[Finite, Field(gt=0)]], Field(min_length=1)]


class FoldFile(_Part):
    """One trained fold.

    Attributes
    ----------
    weights
        Digest of its weights.
    epoch
        The epoch that was kept.
    encoding
        Of its clinical columns; None if the network takes images alone.
    normalisation
        Of its input, where the settings normalise by the training part.
    computed_otherwise
        Layers that failed the check of the arithmetic in training, and how they were computed.
    """

    weights: Digest
    epoch: int
    encoding: dict[str, Any] | None = None
    normalisation: Normalisation | None = None
    computed_otherwise: dict[Label, Label] = {}

    @property
    def normalised_channels(self) -> tuple[int, int]:
        """Number of means and of deviations; 0 without normalisation."""
        found = self.normalisation
        return (0, 0) if found is None else (len(found.mean), len(found.deviation))


class Distances(_Part):
    """Distances of out-of-fold cases in the feature space of their fold's network."""

    axes: Annotated[int, Field(ge=1)]
    distances: Numbers


class Contents(_Part):
    """Everything in a model file but weights and feature spaces.

    Attributes
    ----------
    settings
        The study's settings without what concerns readers, titles of files, and paths.
    folds
        By model, its trained folds.
    answers, first
        What the file answers, in the order of computation, and the answer that is shown first.
    left_out
        By name of a model or fusion of the study that the file does not answer, the reason.
    range, distances
        What new patients are compared with.
    cohort
        Numbers of cases, patients and classes, for the model card.
    made_with, made_from
        Versions of ctbone and its libraries; digests of folds, predictions and fusions.
    """

    settings: Settings
    folds: dict[Name, tuple[FoldFile, ...]]
    answers: Annotated[tuple[Answer, ...], Field(min_length=1)]
    first: Name
    left_out: dict[str, str]
    range: TrainingRange
    distances: dict[Name, Distances]
    cohort: dict[str, Any]
    made_with: dict[str, str]
    made_from: dict[str, str]

    @model_validator(mode="after")
    def _parts_exist(self) -> Contents:
        known: set[str] = set()
        classes = set(self.settings.classes)
        for answer in self.answers:
            sources = {answer.name} if answer.kind == "model" else set(answer.weights)
            if answer.kind == "model" and answer.name not in self.folds:
                raise ValueError(f"the model {answer.name} has no weights")
            if answer.kind == "reader":
                if sources or len(classes) != 2:
                    raise ValueError(f"{answer.name} is no reader of two classes")
            elif answer.kind != "model" and not (sources and sources <= known):
                raise ValueError(f"{answer.name} is made of unknown parts")
            if answer.kind == "combination" and sum(answer.weights.values()) <= 0:
                raise ValueError(f"the weights of {answer.name} are 0")
            if (answer.kind == "recalibration") != bool(answer.maps):
                raise ValueError(f"{answer.name} has maps of another kind")
            if (answer.kind == "stack") != bool(answer.stack):
                raise ValueError(f"{answer.name} has stackers of another kind")
            _refuse_stack(answer, len(classes))
            if answer.conformal is not None and set(answer.conformal) != classes:
                raise ValueError(f"the conformal limits of {answer.name} are of other classes")
            if len(classes) == 2 and answer.threshold is None:
                raise ValueError(f"{answer.name} has no threshold")
            known.add(answer.name)
        if self.first not in known:
            raise ValueError(f"the first answer, {self.first}, is not among the answers")
        if set(self.folds) - set(self.settings.models) or not all(self.folds.values()):
            raise ValueError("the folds are of models that the settings lack")
        if any(":" in model.network for model in self.settings.models.values()):
            raise ValueError("a network is a plug-in, whose code a model file cannot hold")
        for name, folds in self.folds.items():
            model = self.settings.models[name]
            wanted = {model.channels} if model.normalise == "training" else {0}
            if any({*fold.normalised_channels} != wanted for fold in folds):
                raise ValueError(f"the folds of {name} are normalised in another way")
        extra = [m.training.augmentation.extra for m in self.settings.models.values()]
        if any(extra):
            raise ValueError("a transform names code, which a model file cannot hold")
        return self


@dataclass(frozen=True)
class Release:
    """A model file in memory.

    Attributes
    ----------
    contents
        ``release.json``.
    tensors
        By member name, such as ``weights/3d/fold0.safetensors``, its bytes.
    card
        The model card, Markdown.
    digest
        SHA-256 of the file; "" before it is written.
    """

    contents: Contents
    tensors: dict[str, bytes]
    card: str
    digest: str = ""


def weights_member(model: str, fold: int) -> str:
    """Return the name of a fold's weights in the file."""
    return f"weights/{model}/fold{fold}.safetensors"


def features_member(model: str, fold: int) -> str:
    """Return the name of the feature space of a fold's network in the file."""
    return f"features/{model}/fold{fold}.safetensors"


def _refuse_stack(answer: Answer, classes: int) -> None:
    """Check that every feature of a stack is one of its parts or columns."""
    parts = {f"{part}:{place}" for part in answer.weights for place in range(1, classes)}
    for fold in answer.stack:
        if parts | set(answer.columns) != {*fold.numbers, *fold.levels}:
            raise ValueError(f"the features of {answer.name} are not its parts and columns")
        if len(fold.intercept) != (1 if classes == 2 else classes):
            raise ValueError(f"{answer.name} has stackers for other classes")


def _short(value: float) -> float:
    """Round to four significant digits."""
    if value == 0 or not math.isfinite(value):
        return float(value)
    return float(f"{value:.4g}")
