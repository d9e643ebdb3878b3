import numpy as np
import pandas as pd
import pytest

from ctbone.cohort import Case, Cohort
from ctbone.config import EvaluationSettings
from ctbone.reporting import subgroups
from ctbone.reporting.analysis import JudgedSet, analyse
from ctbone.reporting.scored_cases import CaseSet, ScoredCases
from ctbone.reporting.subgroups import (
    groupings_of,
    judge_subgroups,
    subgroup_forest,
    subgroup_table,
)
from ctbone.stats import auc_interval
from ctbone.study import Study, write_json


def scored_cases(random, *, patients=120, worse=0.0):
    """A model that separates the classes by 2 SD, by ``worse`` less in women."""
    labels = np.arange(patients) % 2
    female = np.arange(patients) // 2 % 2
    p = 1 / (1 + np.exp(-random.normal((2 - worse * female) * labels, 1)))
    cases = pd.DataFrame(
        {
            "case_id": [f"C{number}" for number in range(patients)],
            "patient_id": [f"P{number}" for number in range(patients)],
            "cohort": "internal",
            "label": np.where(labels == 1, "malignant", "benign"),
            "fold": 0,
            "threshold": 0.5,
            "p_benign": 1 - p,
            "p_malignant": p,
        }
    )
    sexes = dict(zip(cases["case_id"], np.where(female == 1, "female", "male"), strict=True))
    return ScoredCases("3d", cases, ("benign", "malignant"), "malignant"), sexes


def study_of(tmp_path, cases, metadata):
    (tmp_path / "study.yaml").write_text("name: s")
    rows = [
        Case(
            case_id=row["case_id"],
            patient_id=row["patient_id"],
            label=row["label"],
            cohort=row["cohort"],
            image=None,
            mask=None,
            metadata=tuple(metadata(row["case_id"]).items()),
        )
        for row in cases.to_dict("records")
    ]
    return Study.open(tmp_path), Cohort(tuple(rows))


def table_of(study, cohort, scored):
    judged = JudgedSet(CaseSet("internal", "Internal test", (scored,)), (), ())
    found = judge_subgroups(judged, groupings_of(study, cohort), level=0.95)
    return None if found is None else subgroup_table(judged, found)


def test_a_planted_difference_between_the_sexes_is_found(tmp_path):
    scored, sexes = scored_cases(np.random.default_rng(1), worse=2.0)
    study, cohort = study_of(tmp_path, scored.cases, lambda case: {"sex": sexes[case]})
    frame = table_of(study, cohort, scored).frame()
    assert list(frame["group"]) == ["female", "male"]
    for row in frame.to_dict("records"):
        inside = scored.cases["case_id"].map(sexes) == row["group"]
        expected = auc_interval(scored.truth[inside], scored.p[inside])
        assert row["auc_3d"] == pytest.approx(expected.value)
        assert row["auc_3d_low"] == pytest.approx(expected.low)
    assert float(frame["p_3d"].iloc[0]) < 0.01


def test_numbers_are_cut_at_thirds_and_small_groups_are_left_out(tmp_path):
    scored, _ = scored_cases(np.random.default_rng(2))
    ages = {f"C{number}": str(20 + number // 2) for number in range(120)}
    site = {f"C{number}": "S1" if number > 5 else "S5" for number in range(120)}
    study, cohort = study_of(
        tmp_path, scored.cases, lambda case: {"age": ages[case], "site": site[case]}
    )
    frame = table_of(study, cohort, scored).frame()
    assert set(frame["quantity"]) == {"age (years)"}, "S5 has 6 cases: the site is left out"
    assert (frame["positive"].sum(), frame["negative"].sum()) == (60, 60)
    assert len(frame) == 3


def test_scanners_are_read_from_the_records_of_the_volumes(tmp_path):
    scored, _ = scored_cases(np.random.default_rng(3))
    study, cohort = study_of(tmp_path, scored.cases, lambda case: {})
    for number in range(120):
        scan = {"manufacturer": "Made", "model": f"M{number // 2 % 2}", "kernel": "B30"}
        write_json(study.root / "nifti" / f"C{number}.json", {"scan": scan})
    titles = {grouping.title: grouping.levels for grouping in groupings_of(study, cohort)}
    assert titles == {"scanner": ("Made M0", "Made M1")}


def test_without_groups_there_is_no_table(tmp_path):
    scored, _ = scored_cases(np.random.default_rng(4))
    study, cohort = study_of(tmp_path, scored.cases, lambda case: {})
    assert table_of(study, cohort, scored) is None


def test_the_forest_shows_every_group_with_counts_and_the_test(tmp_path, monkeypatch):
    scored, sexes = scored_cases(np.random.default_rng(1), worse=2.0)
    study, cohort = study_of(tmp_path, scored.cases, lambda case: {"sex": sexes[case]})
    case_set = CaseSet("internal", "Internal test", (scored,))
    analysis = analyse([case_set], EvaluationSettings(), bands=False, titles={"3d": "3D network"})
    found = judge_subgroups(analysis.lead, groupings_of(study, cohort), level=0.95)
    kept = []
    finish = subgroups.finish
    monkeypatch.setattr(
        subgroups, "finish", lambda figure, **told: kept.append(figure) or finish(figure, **told)
    )
    drawn = subgroup_forest(analysis, analysis.lead, found)
    (axes,) = kept[0].axes
    texts = {text.get_text() for text in axes.texts}
    assert {"3D network", "sex", "female", "male", "60, 30", "120, 60", "p < .001"} <= texts
    dots = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    inside = scored.cases["case_id"].map(sexes) == "female"
    women = auc_interval(scored.truth[inside], scored.p[inside])
    assert dots[1].get_xdata()[0] == pytest.approx(women.value)
    bars = [line for line in axes.lines if line.get_marker() == "None"]
    assert any(list(bar.get_xdata()) == pytest.approx([women.low, women.high]) for bar in bars)
    assert "heterogeneity" in drawn.note
