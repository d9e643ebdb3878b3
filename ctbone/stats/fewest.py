"""Fewest patients and events below which an interval, a curve or a test is not given."""

from __future__ import annotations

from ctbone.stats.inputs import Bools, Ints
from ctbone.stats.placements import class_counts

# Effective number of cases in a denominator for an interval. With fewer, 95 % Wilson intervals of
# predictive values covered the true value in 99 to 100 % of simulated samples.
FEWEST_CASES = 5
# Events and non-events for a flexible calibration curve, calibration errors with an interval, and
# Hosmer–Lemeshow: Vergouwe et al., J Clin Epidemiol 2005;58:475; Collins, Ogundimu & Altman, Stat
# Med 2016;35:214. (Van Calster et al. 2016 recommend 200 of each for a flexible curve.)
FEWEST_EVENTS = 100


def too_few_events(labels: Bools, patients: Ints | None) -> str | None:
    """Reason for no calibration curve: fewer than 100 cases, or patients, of a class; else None.

    Examples
    --------
    >>> import numpy as np
    >>> too_few_events(np.arange(150) < 40, None)
    'only 40 cases of a class: at least 100 of each are needed'
    """
    fewer = min(class_counts(labels, patients))
    if fewer >= FEWEST_EVENTS:
        return None
    unit = "cases" if patients is None else "patients"
    return f"only {fewer} {unit} of a class: at least {FEWEST_EVENTS} of each are needed"
