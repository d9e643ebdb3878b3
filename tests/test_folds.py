import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.cohort import Case, read_cohort
from ctbone.config import Settings
from ctbone.errors import FoldError
from ctbone.folds import draw_folds, read_folds, read_or_draw_folds
from tests.conftest import cohort_rows, write_rows


def cases(labels_of_patients: list[list[str]]) -> list[Case]:
    return [
        Case(f"C{p}_{n}", f"P{p}", label, "internal", None, None)
        for p, labels in enumerate(labels_of_patients)
        for n, label in enumerate(labels)
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=30, max_size=60),
    st.floats(0.3, 0.7),
    st.integers(2, 5),
    st.integers(0, 1000),
)
def test_no_patient_leaks_and_every_case_is_tested_once(sizes, share, count, seed):
    labels = ["malignant" if p < share * len(sizes) else "benign" for p in range(len(sizes))]
    drawn = cases([[label] * size for label, size in zip(labels, sizes, strict=True)])
    table = draw_folds(drawn, Settings(name="s", folds={"count": count, "seed": seed}))
    assert sorted(table["case_id"]) == sorted(case.case_id for case in drawn)
    for k in range(count):
        role = table[f"role_{k}"]
        assert ((role == "test") == (table["fold"] == k)).all()
        assert table.groupby("patient_id")[f"role_{k}"].nunique().max() == 1
        for name in ("train", "val", "test"):
            assert set(table.loc[role == name, "label"]) == {"benign", "malignant"}


def test_shares_are_those_of_the_paper():
    """Main paper: 129 benign, 385 malignant; folds test 25-26 and 77, validate about 83 of 411."""
    table = draw_folds(cases([["benign"]] * 129 + [["malignant"]] * 385), Settings(name="s"))
    for k in range(5):
        counts = table.groupby([f"role_{k}", "label"]).size()
        assert counts["test", "benign"] in (25, 26)
        assert counts["test", "malignant"] == 77
        assert abs(counts["val", "benign"] - 21) <= 1
        assert abs(counts["val", "malignant"] - 62) <= 1


def test_folds_are_drawn_once(study):
    cohort = read_cohort(study)
    first = read_or_draw_folds(study, cohort)
    second = read_or_draw_folds(study, cohort)
    assert first.hash == second.hash
    assert set(first.cases(0, "test")) | set(first.cases(0, "val")) | set(
        first.cases(0, "train")
    ) == {case.case_id for case in cohort.internal}


def test_another_seed_draws_other_folds():
    drawn = cases([["benign"], ["malignant"]] * 30)
    first, second = (draw_folds(drawn, Settings(name="s", folds={"seed": seed})) for seed in (0, 1))
    assert not first.equals(second)


def test_too_few_patients_of_a_class():
    drawn = cases([["malignant"]] * 30 + [["benign"] * 9] + [["benign"]] * 3)
    with pytest.raises(FoldError, match="class 'benign' has fewer"):
        draw_folds(drawn, Settings(name="s"))


def test_edited_folds_are_refused(study):
    cohort = read_cohort(study)
    read_or_draw_folds(study, cohort)
    table = pd.read_csv(study.folds_csv)
    table.loc[0, "role_0"] = "val" if table.loc[0, "role_0"] != "val" else "train"
    table.to_csv(study.folds_csv, index=False)
    with pytest.raises(FoldError, match="changed after they were drawn"):
        read_folds(study, cohort)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[3].update(label="benign"), "case C003 was"),
        (lambda rows: rows[3].update(patient_id="P099"), "case C003 was"),
        (lambda rows: rows.pop(7), "case C007 is in the folds but not"),
        (
            lambda rows: rows[33].update(cohort="internal"),
            "case C033 is in the cohort but not in the folds",
        ),
    ],
)
def test_a_changed_cohort_is_refused(study, change, words):
    read_or_draw_folds(study, read_cohort(study))
    rows = cohort_rows()
    change(rows)
    write_rows(study.cohort_csv, rows)
    with pytest.raises(FoldError, match=words):
        read_or_draw_folds(study, read_cohort(study))


def test_a_changed_external_case_leaves_the_folds(study):
    before = read_or_draw_folds(study, read_cohort(study)).hash
    rows = cohort_rows()
    rows.pop(34)
    write_rows(study.cohort_csv, rows)
    assert read_folds(study, read_cohort(study)).hash == before


def test_other_fold_settings_are_refused(study):
    cohort = read_cohort(study)
    read_or_draw_folds(study, cohort)
    study.settings_file.write_text("name: test\nfolds: {seed: 5}\n")
    with pytest.raises(FoldError, match="other settings"):
        read_folds(type(study)(study.root), cohort)


def test_folds_without_record_are_refused(study):
    cohort = read_cohort(study)
    read_or_draw_folds(study, cohort)
    (study.root / "folds.json").unlink()
    with pytest.raises(FoldError, match="no readable record"):
        read_folds(study, cohort)
