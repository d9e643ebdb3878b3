"""How maps differ between methods and between classes: extent and place of their heat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ctbone.config import ExplainMethod
from ctbone.stats import Estimate, geometric_mean, holm, paired_ratio, proportion, unpaired_ratio


@dataclass(frozen=True)
class MapSummary:
    """Maps of one method and one class of cases.

    Attributes
    ----------
    method, label
        Which; the class is the true one.
    cases, without
        Cases with heat, and cases without.
    points
        Share of the patients whose map has its hottest point in the lesion.
    extent
        Geometric mean of the share of the image that holds half of the heat.
    ratio
        Geometric mean of the share of the heat in the lesion, over the lesion's share of the image.
    """

    method: ExplainMethod
    label: str
    cases: int
    without: int
    points: Estimate
    extent: Estimate
    ratio: Estimate


@dataclass(frozen=True)
class MapComparison:
    """Ratio of the extents of two sets of maps.

    Attributes
    ----------
    what
        The two sets, in words.
    cases
        Patients in the comparison.
    ratio
        Of the geometric means.
    p, adjusted
        Two-sided p-value, and Holm's over all comparisons; None if undefined.
    """

    what: str
    cases: int
    ratio: Estimate
    p: float | None
    adjusted: float | None = None


def by_patient(records: Sequence[dict[str, Any]], patients: dict[str, str]) -> pd.DataFrame:
    """Return one row a patient, true class and method: means over the patient's cases.

    Extents and ratios are averaged as logarithms, so that patients count alike.

    Parameters
    ----------
    records
        Of the maps; those without heat are left out.
    patients
        The patient of each case.
    """
    rows = [
        {
            "patient_id": patients[record["case_id"]],
            "truth": record["truth"],
            "method": record["method"],
            "points": float(record["points"]),
            "extent": np.log(record["extent"]),
            "ratio": np.log(max(record["ratio"], 1e-6)),
        }
        for record in records
        if record["extent"] is not None
    ]
    columns = ["patient_id", "truth", "method", "points", "extent", "ratio"]
    table = pd.DataFrame(rows, columns=columns)
    means = table.groupby(["patient_id", "truth", "method"], as_index=False, sort=False).mean()
    means[["extent", "ratio"]] = np.exp(means[["extent", "ratio"]].astype(float))
    return means


def summaries(
    records: Sequence[dict[str, Any]],
    table: pd.DataFrame,
    *,
    methods: Sequence[ExplainMethod],
    classes: Sequence[str],
    level: float,
) -> list[MapSummary]:
    """Summarise the maps of each method and class; ``table`` is from `by_patient`."""
    found = []
    for method in methods:
        for label in classes:
            mine = [r for r in records if (r["method"], r["truth"]) == (method, label)]
            if not mine:
                continue
            part = table[(table["method"] == method) & (table["truth"] == label)]
            heated = sum(record["extent"] is not None for record in mine)
            found.append(
                MapSummary(
                    method=method,
                    label=label,
                    cases=heated,
                    without=len(mine) - heated,
                    points=proportion(float(part["points"].sum()), len(part), level=level),
                    extent=geometric_mean(part["extent"], level=level),
                    ratio=geometric_mean(part["ratio"], level=level),
                )
            )
    return found


def comparisons(
    table: pd.DataFrame,
    *,
    methods: Sequence[ExplainMethod],
    classes: Sequence[str],
    titles: dict[ExplainMethod, str],
    level: float,
) -> list[MapComparison]:
    """Compare the extent of the heat: each class with the first, and methods with each other.

    Classes are compared by Welch's t-test of the logarithms, methods by the paired t-test over the
    patients that have both maps. The p-values are adjusted together by Holm's method.
    """
    found = []
    for method in methods:
        of_method = table[table["method"] == method]
        first = of_method[of_method["truth"] == classes[0]]["extent"].to_numpy()
        for label in classes[1:]:
            other = of_method[of_method["truth"] == label]["extent"].to_numpy()
            ratio, p = unpaired_ratio(other, first, level=level)
            what = f"{titles[method]}: {label} to {classes[0]}"
            found.append(MapComparison(what, len(first) + len(other), ratio, p))
    wide = table.pivot_table(index=["patient_id", "truth"], columns="method", values="extent")
    for a, b in combinations([method for method in methods if method in wide], 2):
        both = wide[[a, b]].dropna()
        ratio, p = paired_ratio(both[b].to_numpy(), both[a].to_numpy(), level=level)
        found.append(MapComparison(f"{titles[b]} to {titles[a]}", len(both), ratio, p))
    adjusted = holm([one.p for one in found])
    return [replace(one, adjusted=p) for one, p in zip(found, adjusted, strict=True)]
