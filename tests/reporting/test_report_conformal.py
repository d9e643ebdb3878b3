"""The report's coverage of conformal sets, counted again from the written tables."""

import numpy as np
import pandas as pd
import pytest

COLUMNS = ["p_benign", "p_malignant"]


def test_coverage_and_abstentions_are_those_of_the_tables(fused_study, reported):
    found = pd.read_csv(reported.parent / "tables" / "conformal_external.csv")
    assert "Conformal sets" in reported.read_text(encoding="utf-8")
    table = fused_study.predictions("3d")
    table = table[table["view"] == ""]
    inner = table[table["split"] == "test"]
    limits = []
    for name in ("benign", "malignant"):
        own = inner[inner["label"] == name]
        scores = sorted(1 - own.groupby("patient_id")[f"p_{name}"].min())
        limits.append(scores[int(np.ceil((len(scores) + 1) * 0.9 - 1e-9)) - 1])
    keys = ["case_id", "label", "cohort"]
    outer = table[table["split"] == "external"].groupby(keys)[COLUMNS].mean().reset_index()
    sets = (1 - outer[COLUMNS].to_numpy()) <= np.array(limits) + 1e-12
    for row in found[found["model"] == "3d"].itertuples():
        place = ("benign", "malignant").index(row[3])
        own = (outer["label"] == row[3]).to_numpy()
        if row.centre != "all":
            own = own & (outer["cohort"] == row.centre).to_numpy()
        assert row.n == own.sum() > 0
        assert row.coverage == pytest.approx(sets[own, place].mean())
        if row.n < 5:
            assert np.isnan(row.coverage_low), "no interval of so few cases"
        else:
            assert row.coverage_low <= row.coverage <= row.coverage_high
        assert row.abstains == pytest.approx((sets[own].sum(axis=1) != 1).mean())
    assert set(found["centre"]) == {"all", *outer["cohort"]}
    silent = {
        case: ", ".join(np.array(["benign", "malignant"])[inside]) or "no class"
        for case, inside in zip(outer["case_id"], sets, strict=True)
        if inside.sum() != 1
    }
    path = reported.parent / "tables" / "conformal_abstained.csv"
    shown = {}
    if path.is_file():  # a model abstains in some case
        listed = pd.read_csv(path, dtype=str).set_index("case_id")
        shown = listed["set_3d"].dropna().to_dict()
    assert shown == silent
