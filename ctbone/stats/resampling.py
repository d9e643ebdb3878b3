"""Bootstrap resamples by patient as case weights, and the AUC of all resamples at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.inputs import Bools, Floats, Ints, checked_groups, checked_labels, checked_pair

CHUNK = 2_000_000  # weights in memory at once: 16 MB of float64 for any number of cases


def bootstrap_weights(
    y: ArrayLike,
    *,
    replicates: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    stratified: bool = True,
) -> Iterator[Floats]:
    """Draw resamples as weights (how often each case is drawn), in pieces of bounded memory.

    With groups, whole patients are drawn. If stratified, every resample then keeps the numbers of
    patients with negative cases only, with positive cases only and with both.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    replicates, seed, groups, stratified
        As in `bootstrap_auc`.

    Yields
    ------
    numpy.ndarray of float64, shape (some replicates, n)

    Raises
    ------
    StatsError
        If labels and groups differ in length, or ``replicates`` is less than 1.

    References
    ----------
    Field & Welsh, J R Stat Soc B 2007;69:369 (clusters).

    Examples
    --------
    >>> weights = next(bootstrap_weights([0, 0, 1, 1, 1], replicates=4))
    >>> weights.shape, weights.sum(axis=1), weights[:, :2].sum(axis=1)
    ((4, 5), array([5., 5., 5., 5.]), array([2., 2., 2., 2.]))
    """
    labels = checked_labels(y)
    if replicates < 1:
        raise StatsError(
            "a bootstrap needs at least one replicate", found=replicates, expected="such as 2000"
        )
    patient_of_case, strata = patient_strata(labels, groups, stratified)
    patients = sum(stratum.size for stratum in strata)
    alone = patients == labels.size and bool((patient_of_case == np.arange(patients)).all())
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // labels.size)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        if len(strata) == 1:
            counts = _draw(rng, rows, patients).astype(np.float64)
        else:
            counts = np.empty((rows, patients))
            for stratum in strata:
                counts[:, stratum] = _draw(rng, rows, stratum.size)
        yield counts if alone else counts[:, patient_of_case]


def weighted_auc(weights: Floats, y: ArrayLike, p: ArrayLike) -> Floats:
    """AUC of all resamples at once, in O(n) per resample after one sort.

    Parameters
    ----------
    weights
        How often each case is drawn, shape (replicates, n), ≥ 0.
    y, p
        Labels and scores, shape (n,).

    Returns
    -------
    numpy.ndarray of float64, shape (replicates,)
        NaN for a resample of one class.

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length.

    References
    ----------
    Bamber, J Math Psychol 1975;12:387, applied to weighted cases.

    Examples
    --------
    >>> import numpy as np
    >>> weighted_auc(np.array([[1.0, 1, 1, 1], [2, 0, 1, 1]]), [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    array([0.75, 1.  ])
    """
    labels, scores = checked_pair(y, p)
    positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
    positive = positive[np.argsort(scores[positive], kind="stable")]
    negative = negative[np.argsort(scores[negative], kind="stable")]
    below = np.searchsorted(scores[negative], scores[positive], side="left")
    up_to = np.searchsorted(scores[negative], scores[positive], side="right")
    of_positive = weights[:, positive]
    cumulated = np.zeros((len(weights), negative.size + 1))
    np.cumsum(weights[:, negative], axis=1, out=cumulated[:, 1:])
    # Negatives below plus negatives up to a positive: twice the weight of its wins, ties half.
    won = cumulated[:, below]
    won += cumulated[:, up_to]
    total = of_positive.sum(axis=1) * cumulated[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.einsum("ij,ij->i", of_positive, won) / (2 * total), dtype=np.float64)


def patient_strata(
    labels: Bools, groups: ArrayLike | None, stratified: bool
) -> tuple[Ints, list[Ints]]:
    """Return the patient number of each case and the patient numbers of each stratum."""
    if groups is None:
        patient_of_case = np.arange(labels.size)
        positive, negative = labels, ~labels
    else:
        patient_of_case = checked_groups(groups, labels.size)
        cases = np.bincount(patient_of_case)
        positives = np.bincount(patient_of_case, weights=labels)
        positive, negative = positives > 0, positives < cases
    if not stratified:
        return patient_of_case, [np.arange(positive.size)]
    kinds = positive + 2 * negative.astype(np.int64)
    return patient_of_case, [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


def _draw(rng: np.random.Generator, rows: int, size: int) -> Ints:
    """Draw ``size`` patients with replacement and count each; shape (rows, size)."""
    drawn = rng.integers(0, size, (rows, size), dtype=np.int32 if rows * size < 2**31 else np.int64)
    drawn += np.arange(rows, dtype=drawn.dtype)[:, None] * drawn.dtype.type(size)
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
