"""Performance of several readers with several tests, and its covariance over the cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.delong import delong_covariance
from ctbone.stats.inputs import Bools, Floats, Ints, checked_groups, checked_labels
from ctbone.stats.placements import placements
from ctbone.stats.resampling import bootstrap_weights, weighted_auc

CovarianceMethod: TypeAlias = Literal["jackknife", "delong", "bootstrap"]


@dataclass(frozen=True)
class ReaderPerformance:
    """A measure of each reader with each test, and the covariance from sampling the cases.

    Attributes
    ----------
    values
        Such as AUC; shape (tests, readers).
    covariance
        Shape (tests · readers, tests · readers), all readers of the first test first; zero
        between readers who read different cases. NaN where it is undefined.
    blocks
        Number of the group of each reader, shape (readers,). Readers of different groups share no
        case: the design is split-plot.
    method
        Name of the covariance estimator.
    bounds
        Range of the measure, in which its intervals are cut.
    """

    values: Floats
    covariance: Floats
    blocks: Ints
    method: str
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def tests(self) -> int:
        """Number of tests."""
        return int(self.values.shape[0])

    @property
    def readers(self) -> int:
        """Number of readers."""
        return int(self.values.shape[1])

    def of_readers(self, chosen: ArrayLike) -> ReaderPerformance:
        """Keep some readers, by number or mask.

        Examples
        --------
        >>> scores = [[[1, 3, 2, 4], [1, 2, 3, 4]]]
        >>> reader_areas([0, 0, 1, 1], scores).of_readers([1]).values
        array([[1.]])
        """
        numbers = np.arange(self.readers)[np.asarray(chosen)]
        places = (np.arange(self.tests)[:, None] * self.readers + numbers).ravel()
        return ReaderPerformance(
            values=self.values[:, numbers],
            covariance=self.covariance[np.ix_(places, places)],
            blocks=self.blocks[numbers],
            method=self.method,
            bounds=self.bounds,
        )

    def against_last_reader(self) -> ReaderPerformance:
        """Subtract the last reader, such as a model, from all others.

        Examples
        --------
        >>> scores = [[[1, 3, 2, 4], [1, 2, 3, 4]]]
        >>> reader_areas([0, 0, 1, 1], scores).against_last_reader().values
        array([[-0.25]])
        """
        others = self.readers - 1
        contrast = np.hstack([np.eye(others), -np.ones((others, 1))])
        contrasts = np.kron(np.eye(self.tests), contrast)
        return ReaderPerformance(
            values=self.values[:, :-1] - self.values[:, -1:],
            covariance=contrasts @ self.covariance @ contrasts.T,
            blocks=self.blocks[:-1],
            method=self.method,
            bounds=(-1.0, 1.0),
        )


def reader_areas(
    y: ArrayLike,
    scores: ArrayLike,
    *,
    covariance: CovarianceMethod = "jackknife",
    groups: ArrayLike | None = None,
    replicates: int = 2000,
    seed: int = 0,
) -> ReaderPerformance:
    """AUC of each reader with each test, and the covariance of all of them.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    scores
        Shape (tests, readers, n); NaN where a reader did not read a case with a test.
    covariance
        ``"jackknife"`` over cases, for any design; ``"delong"``, for designs without missing
        scores; ``"bootstrap"`` over cases, stratified by class.
    groups
        Patient of each case, shape (n,); whole patients are then left out, drawn or summed.
    replicates, seed
        Of the bootstrap.

    Returns
    -------
    ReaderPerformance
        A value is NaN if the reader read one class only.

    Raises
    ------
    StatsError
        If shapes do not match, no score is left, or DeLong is asked for with missing scores.

    References
    ----------
    Obuchowski & Rockette, Commun Stat Simul Comput 1995;24:285. DeLong, DeLong & Clarke-Pearson,
    Biometrics 1988;44:837. Quenouille, Biometrika 1956;43:353 (jackknife).

    Examples
    --------
    >>> scores = [[[1, 3, 2, 4], [1, 2, 3, 4]], [[2, 1, 3, 4], [2, 2, 3, 3]]]
    >>> reader_areas([0, 0, 1, 1], scores).values
    array([[0.75, 1.  ],
           [1.  , 1.  ]])
    """
    labels, table = _checked(y, scores)
    cells = table.reshape(-1, labels.size)
    values = np.array([_area(labels, row) for row in cells])
    if covariance == "delong":
        if np.isnan(cells).any():
            raise StatsError(
                "DeLong's covariance needs a score of every case from every reader",
                found=f"{int(np.isnan(cells).sum())} missing scores",
                remedy="take the jackknife",
            )
        matrix, method = delong_covariance(labels, cells, groups=groups), "DeLong"
    elif covariance == "bootstrap":
        matrix = _bootstrap_areas(labels, cells, groups=groups, replicates=replicates, seed=seed)
        method = f"bootstrap, {replicates} resamples"
    elif covariance == "jackknife":
        patients = _patients(groups, labels.size)
        matrix = _jackknife(values, lambda row: _areas_without(labels, cells[row], patients))
        method = "jackknife"
    else:
        raise StatsError(
            "unknown covariance", found=covariance, expected="jackknife, delong or bootstrap"
        )
    if groups is not None:
        method += " by patient"
    return ReaderPerformance(
        values=values.reshape(table.shape[:2]),
        covariance=matrix,
        blocks=_blocks(table),
        method=method,
    )


def reader_means(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> ReaderPerformance:
    """Mean over the cases of each reader and test, with the jackknife's covariance.

    Sensitivity is the mean of the calls (0 or 1) over positive cases, accuracy that of correct
    calls, and reading time that of the logarithms of the seconds.

    Parameters
    ----------
    values
        Shape (tests, readers, n); NaN where a case does not count.
    groups
        Patient of each case, shape (n,).
    bounds
        Range of the mean.

    Returns
    -------
    ReaderPerformance
        NaN if no case counts.

    Raises
    ------
    StatsError
        If the shape is not (tests, readers, n).

    Examples
    --------
    >>> calls = [[[1, 1, 0, 1], [1, 0, 0, 1]]]
    >>> found = reader_means(calls)
    >>> found.values, round(float(found.covariance[0, 0]), 4)
    (array([[0.75, 0.5 ]]), 0.0625)
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 3 or table.size == 0:
        raise StatsError(
            "values of readers have the wrong shape",
            found=table.shape,
            expected="(tests, readers, n)",
        )
    counted = ~np.isnan(table).all(axis=(0, 1))
    if not counted.any():
        return _undefined(table, bounds)
    cells = table[:, :, counted].reshape(-1, int(counted.sum()))
    chosen = None if groups is None else np.asarray(groups)[counted]
    patients = _patients(chosen, cells.shape[1])
    with np.errstate(invalid="ignore"):
        means = np.nansum(cells, axis=1) / (~np.isnan(cells)).sum(axis=1)
    return ReaderPerformance(
        values=means.reshape(table.shape[:2]),
        covariance=_jackknife(means, lambda row: _means_without(cells[row], patients)),
        blocks=_blocks(table),
        method="jackknife" if groups is None else "jackknife by patient",
        bounds=bounds,
    )


def _undefined(table: Floats, bounds: tuple[float, float]) -> ReaderPerformance:
    tests, readers, _ = table.shape
    return ReaderPerformance(
        values=np.full((tests, readers), np.nan),
        covariance=np.full((tests * readers, tests * readers), np.nan),
        blocks=np.zeros(readers, dtype=np.int64),
        method="jackknife",
        bounds=bounds,
    )


def _checked(y: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    labels = checked_labels(y)
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 3 or table.shape[2] != labels.size or table.size == 0:
        raise StatsError(
            "scores of readers have the wrong shape",
            found=table.shape,
            expected=f"(tests, readers, {labels.size})",
        )
    if np.isinf(table).any():
        raise StatsError("a score is infinite", found="inf", expected="finite numbers or NaN")
    return labels, table


def _patients(groups: ArrayLike | None, n: int) -> Ints:
    return np.arange(n) if groups is None else checked_groups(groups, n)


def _area(labels: Bools, row: Floats) -> float:
    read = ~np.isnan(row)
    if labels[read].all() or not labels[read].any():
        return float("nan")
    return float(placements(labels[read], row[read])[0].mean())


def _jackknife(values: Floats, without: Callable[[int], Floats]) -> Floats:
    """Jackknife covariance: (N − 1) / N times the sum of products of the deviations.

    ``without`` gives the value of a cell after leaving out each patient; a patient whom the
    reader did not read leaves it unchanged.
    """
    left_out = np.stack([without(row) for row in range(values.size)])
    count = left_out.shape[1]
    deviations = left_out - left_out.mean(axis=1, keepdims=True)
    return np.asarray((count - 1) / count * deviations @ deviations.T, dtype=np.float64)


def _areas_without(labels: Bools, row: Floats, patients: Ints) -> Floats:
    """AUC of one cell after leaving out each patient; shape (patients,)."""
    count = int(patients.max()) + 1
    read = ~np.isnan(row)
    own, scores, who = labels[read], row[read], patients[read]
    if own.all() or not own.any():
        return np.full(count, np.nan)
    of_positives, of_negatives = placements(own, scores)
    positives, negatives = of_positives.size, of_negatives.size
    wins = of_positives.sum() * negatives
    won = np.bincount(who[own], weights=of_positives * negatives, minlength=count)
    won += np.bincount(who[~own], weights=of_negatives * positives, minlength=count)
    with_positive = np.bincount(who[own], minlength=count)
    with_negative = np.bincount(who[~own], minlength=count)
    for patient in np.flatnonzero((with_positive > 0) & (with_negative > 0)):
        # Pairs within the patient were subtracted twice.
        above = scores[own & (who == patient)][:, None]
        below = scores[~own & (who == patient)][None]
        won[patient] -= (above > below).sum() + (above == below).sum() / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            (wins - won) / ((positives - with_positive) * (negatives - with_negative))
        )


def _means_without(row: Floats, patients: Ints) -> Floats:
    """Mean of one cell after leaving out each patient; shape (patients,)."""
    count = int(patients.max()) + 1
    read = ~np.isnan(row)
    sums = np.bincount(patients[read], weights=row[read], minlength=count)
    cases = np.bincount(patients[read], minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((sums.sum() - sums) / (cases.sum() - cases))


def _bootstrap_areas(
    labels: Bools, cells: Floats, groups: ArrayLike | None, replicates: int, seed: int
) -> Floats:
    """Covariance of the AUCs over resamples of the cases, stratified by class."""
    pieces = []
    for weights in bootstrap_weights(labels, replicates=replicates, seed=seed, groups=groups):
        drawn = []
        for row in cells:
            read = ~np.isnan(row)
            drawn.append(weighted_auc(weights[:, read], labels[read], row[read]))
        pieces.append(np.stack(drawn))
    return np.atleast_2d(np.cov(np.hstack(pieces)))


def _blocks(table: Floats) -> Ints:
    """Assign readers to groups that share no case with each other (connected components)."""
    read = np.asarray(~np.isnan(table).all(axis=0))
    linked = (read.astype(np.int64) @ read.T.astype(np.int64)) > 0
    blocks = np.full(len(read), -1)
    for reader in range(len(read)):
        if blocks[reader] >= 0:
            continue
        group, found = int(blocks.max()) + 1, {reader}
        while found:
            one = found.pop()
            blocks[one] = group
            found |= set(np.flatnonzero(linked[one] & (blocks < 0)).tolist())
    return blocks
