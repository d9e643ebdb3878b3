"""The effect of AI: paired per reader, and across readers and cases."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np

from ctbone.document import Cell, Table, TableColumn, TableRow, plain_table
from ctbone.reader_study.performance import MEASURES, Performances
from ctbone.stats import Comparison, Estimate, delong_test, mcnemar
from ctbone.stats.obuchowski_rockette import RandomFactors, ReaderAnalysis, obuchowski_rockette
from ctbone.stats.reader_performance import CovarianceMethod, reader_areas

UNAIDED, AIDED = 0, 1
"""Places of the sessions in the arrays."""
_WORDS = {
    "readers and cases": "Readers and cases random",
    "cases": "Readers fixed, cases random",
    "readers": "Readers random, cases fixed",
}
_CALLS = ("sensitivity", "specificity", "accuracy")


def as_estimate(comparison: Comparison) -> Estimate:
    """Show a difference with its interval in one cell."""
    return Estimate(
        value=comparison.difference,
        low=comparison.low,
        high=comparison.high,
        method=comparison.method,
        why=comparison.why,
    )


def reader_change(found: Performances, reader: int) -> dict[str, Comparison]:
    """Compare the sessions of one reader on the cases that he or she read in both.

    AUC by DeLong's paired test; sensitivity, specificity and accuracy by McNemar's test. If
    patients have several cases, DeLong's variance is by patient.
    """
    readings, level = found.readings, found.level
    both = ~np.isnan(readings.p[:, reader]).any(axis=0)
    if not both.any():
        return {}
    truth = readings.truth[both]
    before, after = readings.p[UNAIDED, reader, both], readings.p[AIDED, reader, both]
    patients = None if readings.patients is None else readings.patients[both]
    changes = {"auc": delong_test(truth, after, before, level=level, groups=patients)}
    right = readings.correct[:, reader, both] == 1
    for name, chosen in zip(_CALLS, (truth, ~truth, np.ones_like(truth)), strict=True):
        if chosen.any():
            changes[name] = mcnemar(right[AIDED, chosen], right[UNAIDED, chosen], level=level)
    return changes


def change_table(found: Performances) -> Table:
    """Show the change of each reader with AI."""
    readings = found.readings
    columns = [TableColumn("reader", "Reader", "text"), TableColumn("level", "Level", "text")]
    for name in ("auc", *_CALLS):
        columns.append(TableColumn(name, "Change", "estimate", group=MEASURES[name]))
        columns.append(TableColumn(f"{name}_p", "p", "p", group=MEASURES[name]))
    rows = []
    for number, reader in enumerate(readings.readers):
        changes = reader_change(found, number)
        cells: list[Cell] = [reader, readings.levels[number]]
        for name in ("auc", *_CALLS):
            change = changes.get(name)
            cells += [None, None] if change is None else [as_estimate(change), change.p_value]
        rows.append(cells)
    return plain_table(
        key="reader_study_changes",
        title="Change of each reader with AI",
        columns=columns,
        rows=rows,
        note="With AI minus without AI. AUC: DeLong's paired test. Sensitivity, specificity and "
        "accuracy: McNemar's mid-p test, interval of Bonett and Price. The p-values are not "
        "adjusted for the number of readers.",
    )


def level_change_table(found: Performances) -> Table:
    """Show the change of each level with AI, for its readers and other cases."""
    columns = [TableColumn("level", "Level", "text"), TableColumn("readers", "Readers")]
    for name in ("auc", *_CALLS):
        columns.append(TableColumn(name, "Change", "estimate", group=MEASURES[name]))
        columns.append(TableColumn(f"{name}_p", "p", "p", group=MEASURES[name]))
    rows = []
    for level in found.readings.level_names:
        cells: list[Cell] = [level or "no level", len(found.readings.of_level(level))]
        for name in ("auc", *_CALLS):
            change = found.of_level(name, level).difference(AIDED, UNAIDED)
            cells += [as_estimate(change), change.p_value]
        rows.append(cells)
    return plain_table(
        key="reader_study_level_changes",
        title="Change of each level with AI",
        columns=columns,
        rows=rows,
        note="Mean over the readers of a level; readers fixed, cases random.",
    )


def mean_changes(found: Performances) -> dict[str, ReaderAnalysis]:
    """Analyse every measure with random readers and cases."""
    return {
        name: obuchowski_rockette(performance, level=found.level)
        for name, performance in found.measures.items()
    }


def effect_table(found: Performances) -> Table:
    """Show every measure averaged over the readers, without and with AI, and the change."""
    columns = [
        TableColumn("measure", "Measure", "text"),
        TableColumn("unaided", "Without AI", "estimate"),
        TableColumn("aided", "With AI", "estimate"),
        TableColumn("change", "Change", "estimate"),
        TableColumn("f", "F", digits=2),
        TableColumn("df", "df", digits=1),
        TableColumn("p", "p", "p"),
    ]
    rows: list[list[Cell]] = []
    for name, analysis in mean_changes(found).items():
        change = analysis.difference(AIDED, UNAIDED)
        rows.append(
            [
                MEASURES[name],
                analysis.means[UNAIDED],
                analysis.means[AIDED],
                as_estimate(change),
                analysis.test.statistic,
                analysis.denominator_df,
                change.p_value,
            ]
        )
    return plain_table(
        key="reader_study_effect",
        title="Effect of AI, averaged over the readers",
        columns=columns,
        rows=rows,
        note="Obuchowski–Rockette analysis with random readers and random cases, Hillis' degrees "
        "of freedom (df) and covariances by the jackknife.",
    )


def factor_table(found: Performances, *, replicates: int, seed: int, margin: float | None) -> Table:
    """Show the change of AUC for every choice of random factors and covariances."""
    columns = [
        TableColumn("factors", "Conclusion holds for", "text"),
        TableColumn("covariance", "Covariances", "text"),
        TableColumn("change", "Change of AUC", "estimate"),
        TableColumn("statistic", "F or χ²", digits=3),
        TableColumn("df", "df", digits=2),
        TableColumn("p", "p", "p"),
    ]
    if margin is not None:
        columns.append(TableColumn("p_non_inferior", f"p, loss below {margin:g}", "p"))
    rows = []
    for random in get_args(RandomFactors):
        methods = get_args(CovarianceMethod) if random != "readers" else ("jackknife",)
        for number, method in enumerate(methods):
            analysis = _with_covariance(
                found, method, random=random, replicates=replicates, seed=seed
            )
            if analysis is None:
                continue
            change = analysis.difference(AIDED, UNAIDED)
            cells: list[Cell] = [
                _WORDS[random],
                method if random != "readers" else "none needed",
                as_estimate(change),
                analysis.test.statistic,
                analysis.denominator_df,
                change.p_value,
            ]
            if margin is not None:
                cells.append(analysis.non_inferiority(AIDED, UNAIDED, margin).p_value)
            rows.append(TableRow(tuple(cells), opens=number == 0))
    note = "F with Hillis' degrees of freedom; χ² with one degree of freedom if readers are fixed."
    if margin is not None:
        note += (
            f" The last column tests whether AI costs less than {margin:g} of AUC; it is "
            "one-sided: compare it with .025."
        )
    return Table(
        key="reader_study_factors",
        title="Change of AUC: random factors and covariances",
        columns=tuple(columns),
        rows=tuple(rows),
        note=note,
    )


def component_table(found: Performances) -> Table:
    """Show the variance components, from which a future study is planned."""
    components = obuchowski_rockette(found.measures["auc"], level=found.level).components
    titles = {
        "reader": "Readers",
        "test_by_reader": "Sessions × readers",
        "error": "Error (cases)",
        "cov1": "Cov1: same reader, other session",
        "cov2": "Cov2: other reader, same session",
        "cov3": "Cov3: other reader, other session",
    }
    rows: list[list[Cell]] = []
    for name, value in components.as_dict().items():
        of_error = name.startswith("cov") and components.error > 0
        rows.append([titles[name], value, value / components.error if of_error else None])
    return plain_table(
        key="reader_study_components",
        title="Variance components of the AUC",
        columns=[
            TableColumn("component", "Component", "text"),
            TableColumn("estimate", "Estimate", digits=6),
            TableColumn("correlation", "Correlation"),
        ],
        rows=rows,
        note="Estimates can be negative. 'ctbone power readers --pilot' plans a study with them.",
    )


def _with_covariance(
    found: Performances,
    method: CovarianceMethod,
    *,
    random: RandomFactors,
    replicates: int,
    seed: int,
) -> ReaderAnalysis | None:
    """Analyse the AUCs; None for DeLong with missing scores."""
    readings = found.readings
    if method == "jackknife":
        performance = found.measures["auc"]
    elif method == "delong" and np.isnan(readings.p).any():
        return None
    else:
        areas = reader_areas(
            readings.truth,
            readings.p,
            covariance=method,
            groups=readings.patients,
            replicates=replicates,
            seed=seed,
        )
        performance = replace(areas, blocks=found.measures["auc"].blocks)
    return obuchowski_rockette(performance, random=random, level=found.level)
