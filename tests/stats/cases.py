"""Simulated cases that several tests share."""

import numpy as np
from hypothesis import strategies as st


def sample(n=200, seed=0, shift=1.2, decimals=None, prevalence=0.6):
    """Labels and probabilities of a model that is neither perfect nor well calibrated."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < prevalence
    p = 1 / (1 + np.exp(-(shift * (y - 0.5) + rng.normal(size=n))))
    return y, p if decimals is None else np.round(p, decimals)


@st.composite
def tied_scores(draw, max_size=30, models=1):
    """Both classes present, scores on a grid of eighths so that ties are heavy."""
    n = draw(st.integers(2, max_size))
    y = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    y[0], y[1] = True, False
    eighths = st.lists(st.integers(0, 8), min_size=n, max_size=n)
    scores = [np.array(draw(eighths)) / 8 for _ in range(models)]
    return (y, *scores)


def clustered_sample(patients=80, seed=0, shared=0.6, mixed=True, decimals=None):
    """Labels, probabilities and patients (strings) of 1–4 correlated cases each, in random order.

    The probabilities are calibrated: the score is 1.2 higher in the positive class, with unit
    variance in both, of which the share ``shared`` is common to a patient's cases. The class
    varies between cases (mixed) or only between patients.
    """
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    patient = patient[rng.permutation(patient.size)]
    y = rng.random(patient.size) < 0.5 if mixed else (rng.random(patients) < 0.5)[patient]
    noise = np.sqrt(shared) * rng.normal(size=patients)[patient] + np.sqrt(1 - shared) * rng.normal(
        size=patient.size
    )
    p = 1 / (1 + np.exp(-1.2 * (1.2 * y + noise - 0.6)))
    return (
        y,
        p if decimals is None else np.round(p, decimals),
        np.array([f"P{number:04d}" for number in patient]),
    )
