"""Mahalanobis distance of a case in a network's feature space, with a covariance of few axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ctbone.errors import ReleaseError

_CASES_AN_AXIS = 4
"""Training cases for each axis of the covariance: with as many axes as cases, the axes would span
the features of every single case."""
_MOST_AXES = 32


@dataclass(frozen=True)
class FeatureSpace:
    """Mean and covariance of the features of a fold's training cases (probabilistic PCA).

    Attributes
    ----------
    mean
        (width,).
    axes
        Orthonormal, (k, width).
    variances
        Along the axes, (k,).
    rest
        Variance along every other direction.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance of each case, divided by the root of the width.

        Parameters
        ----------
        features
            (cases, width).
        """
        apart = np.asarray(features, dtype=np.float64) - self.mean
        along = apart @ self.axes.T
        across = np.maximum((apart**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = (along**2 / self.variances).sum(axis=1) + across / self.rest
        return np.asarray(np.sqrt(squared / len(self.mean)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``from_arrays`` reads, in float32."""
        found = {"mean": self.mean, "axes": self.axes, "variances": self.variances}
        found["rest"] = np.array([self.rest])
        return {name: values.astype(np.float32) for name, values in found.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], name: str) -> FeatureSpace:
        """Check and read what ``arrays`` returned.

        Raises
        ------
        ReleaseError
            An array is missing, or its shape or a value is not valid.
        """
        try:
            values = {key: np.asarray(arrays[key], dtype=np.float64) for key in _KEYS}
        except KeyError as error:
            raise ReleaseError(
                "a feature space of the model file is not complete", found=f"{name} lacks {error}"
            ) from None
        axes, width = values["axes"], values["mean"].size
        fits = axes.ndim == 2 and axes.shape[1] == width == values["mean"].shape[0]
        fits = fits and values["variances"].shape == axes.shape[:1] and values["rest"].shape == (1,)
        finite = all(np.isfinite(array).all() for array in values.values())
        if not fits or not finite or min(values["variances"].min(), values["rest"][0]) <= 0:
            raise ReleaseError("a feature space of the model file is not valid", found=name)
        return cls(values["mean"], axes, values["variances"], float(values["rest"][0]))


_KEYS = ("mean", "axes", "variances", "rest")


def fit_feature_space(features: np.ndarray) -> FeatureSpace:
    """Fit the features of training cases.

    The number of axes is a quarter of the cases, 32 at most; all other directions share one
    variance, the mean of theirs.

    Parameters
    ----------
    features
        (cases, width), two or more cases.

    References
    ----------
    .. [1] Tipping ME, Bishop CM. Probabilistic principal component analysis. J R Stat Soc B
       1999;61:611.
    .. [2] Lee K et al. A simple unified framework for detecting out-of-distribution samples.
       NeurIPS 2018.
    """
    values = np.asarray(features, dtype=np.float64)
    n, width = values.shape
    mean = values.mean(axis=0)
    _, spread, axes = np.linalg.svd(values - mean, full_matrices=False)
    variances = spread**2 / max(n - 1, 1)
    k = max(1, min(n // _CASES_AN_AXIS, _MOST_AXES, width - 1))
    # A network without spread in its features must not divide by 0.
    smallest = max(1e-8 * float(variances.sum()), 1e-12)
    rest = max(float(variances[k:].sum()) / max(width - k, 1), smallest)
    return FeatureSpace(mean, axes[:k], np.maximum(variances[:k], rest), rest)
