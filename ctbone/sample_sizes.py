"""The commands of ``ctbone power`` as functions, which ``import ctbone`` offers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctbone.errors import ReaderStudyError
from ctbone.results import SampleSizes
from ctbone.study import Study

if TYPE_CHECKING:
    from ctbone.reader_study import Readings
    from ctbone.stats.reader_power import ReaderVariability

AnyPath = str | os.PathLike[str]


def power_readers(
    difference: float | None = None,
    *,
    pilot: AnyPath | None = None,
    truth: AnyPath | None = None,
    positive: str | None = None,
    auc: float = 0.8,
    prevalence: float = 0.5,
    change_sd: float = 0.03,
    correlations: tuple[float, float, float] = (0.5, 0.4, 0.3),
    power: float = 0.8,
    alpha: float = 0.05,
    random: Literal["both", "cases", "readers"] = "both",
    study: Study | AnyPath = ".",
    out: AnyPath = "power",
) -> SampleSizes:
    """Compute readers and cases of a reader study, from a pilot study or conjectured values.

    Parameters
    ----------
    difference
        Difference of the mean AUCs to detect; None takes that of the pilot.
    pilot
        Scores of a pilot study with both sessions; None takes the conjectured values.
    truth, positive, study
        The true classes of the pilot, as for ``readers``.
    auc, prevalence
        Conjectured mean AUC, and share of positive cases.
    change_sd
        Conjectured standard deviation over readers of the true change of AUC.
    correlations
        Conjectured correlations of AUCs: one reader and two sessions; two readers and one session;
        two readers and two sessions.
    power, alpha
        Wanted power, and two-sided significance level.
    random
        Whether readers and cases are random (``both``), or only one of them.
    out
        Folder of the results.

    Returns
    -------
    SampleSizes

    Raises
    ------
    ReaderStudyError, ScoreError, StatsError
        The pilot or a value is not valid.

    Examples
    --------
    >>> import tempfile, ctbone as ct
    >>> found = ct.power_readers(0.05, out=tempfile.mkdtemp())
    >>> int(found.table.set_index("readers")["cases"][6]) > 100
    True
    """
    from ctbone.planning import plan_readers
    from ctbone.stats.reader_power import ReaderVariability

    if pilot is None:
        if difference is None:
            raise ReaderStudyError(
                "the difference to detect is missing", remedy="name it, or a pilot study: --pilot"
            )
        variability = ReaderVariability.conjectured(
            auc, prevalence=prevalence, change_sd=change_sd, correlations=correlations
        )
        origin = (
            f"conjectured: AUC {auc:g}, {prevalence:.0%} positive, standard deviation of the "
            f"change {change_sd:g}, correlations {', '.join(f'{r:g}' for r in correlations)}"
        )
    else:
        readings = _pilot(Path(pilot), truth, positive, study)
        difference, variability = _of_pilot(readings, difference)
        count = len(readings.readers)
        origin = f"pilot {Path(pilot).name}: {count} readers, {len(readings.case_ids)} cases"
    plan = plan_readers(
        difference, variability, power=power, alpha=alpha, random=random, origin=origin
    )
    return SampleSizes(plan.write(Path(out)))


def power_auc(
    auc: float,
    against: float = 0.5,
    *,
    correlation: float | None = None,
    prevalence: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
    out: AnyPath = "power",
) -> SampleSizes:
    """Compute the cases that show that an AUC differs from a value or from another AUC.

    Parameters
    ----------
    auc, against
        Expected AUC, and the value or AUC that it is compared with.
    correlation
        Of two AUCs on the same cases; None compares with a fixed value.
    prevalence, power, alpha
        Share of positive cases, wanted power, two-sided significance level.
    out
        Folder of the results.

    Returns
    -------
    SampleSizes

    Raises
    ------
    StatsError
        A value is not valid.

    Examples
    --------
    >>> import tempfile, ctbone as ct
    >>> bool(ct.power_auc(0.8, 0.7, out=tempfile.mkdtemp()).table["cases"].min() > 50)
    True
    """
    from ctbone.planning import plan_auc

    plan = plan_auc(
        auc,
        against,
        correlation=correlation,
        prevalence=prevalence,
        power=power,
        alpha=alpha,
    )
    return SampleSizes(plan.write(Path(out)))


def power_validation(
    auc: float,
    prevalence: float,
    *,
    oe_width: float = 0.2,
    slope_width: float = 0.4,
    auc_width: float = 0.1,
    out: AnyPath = "power",
) -> SampleSizes:
    """Compute the cases of an external validation: O/E, calibration slope and c-statistic.

    Parameters
    ----------
    auc, prevalence
        Expected AUC and share of positive cases in the new patients.
    oe_width, slope_width, auc_width
        Widths of the 95 % intervals.
    out
        Folder of the results.

    Returns
    -------
    SampleSizes

    Raises
    ------
    StatsError
        A value is not valid.

    Examples
    --------
    >>> import tempfile, ctbone as ct
    >>> [int(n) for n in ct.power_validation(0.8, 0.3, out=tempfile.mkdtemp()).table["cases"]]
    [900, 551, 359]
    """
    from ctbone.planning import plan_validation

    plan = plan_validation(
        prevalence, auc, oe_width=oe_width, slope_width=slope_width, auc_width=auc_width
    )
    return SampleSizes(plan.write(Path(out)))


def _pilot(
    scores: Path, truth: AnyPath | None, positive: str | None, study: Study | AnyPath
) -> Readings:
    from ctbone.reader_study import read_readings, study_truth, table_truth

    if truth is not None:
        return read_readings(scores, table_truth(Path(truth), positive=positive))
    opened = study if isinstance(study, Study) else Study.open(study)
    return read_readings(scores, study_truth(opened, None))


def _of_pilot(readings: Readings, difference: float | None) -> tuple[float, ReaderVariability]:
    from ctbone.stats.obuchowski_rockette import obuchowski_rockette
    from ctbone.stats.reader_performance import reader_areas
    from ctbone.stats.reader_power import ReaderVariability

    if not readings.paired or len(readings.readers) < 2:
        raise ReaderStudyError(
            "a pilot study needs two readers and both sessions",
            found=f"{len(readings.readers)} readers, {' and '.join(readings.sessions)}",
        )
    areas = reader_areas(readings.truth, readings.p, groups=readings.patients)
    analysis = obuchowski_rockette(areas)
    observed = analysis.difference(1, 0).difference
    if difference is None and not observed:
        raise ReaderStudyError("the pilot shows no difference", remedy="name it: --difference")
    variability = ReaderVariability.of_pilot(analysis.components, len(readings.case_ids))
    return float(difference if difference is not None else observed or 0), variability
