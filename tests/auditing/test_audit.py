"""Planted leaks and shortcuts are found, and a clean study has none."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

import ctbone as ct
from ctbone.auditing.columns import audit_columns
from ctbone.auditing.shortcuts import Task, logistic, shortcut_findings
from ctbone.cohort import read_cohort
from ctbone.errors import AuditError, CohortError
from ctbone.findings import audit_inputs, read_findings
from ctbone.reporting.study_page import audit_section
from ctbone.scan_identity import identify
from ctbone.stats import auc
from tests.auditing.scanned_study import scanned_study
from tests.test_cli import ctbone


def is_last(row):
    return row["label"] in ("malignant", "c")


def kvp_by_label(rows, rng):
    for row in rows:
        if rng.random() < 0.7:
            row["scan"]["kvp"] = 140.0 if is_last(row) else 100.0


def centre_is_class(rows, rng):
    for row in rows:
        row["hospital"] = "north" if is_last(row) else str(rng.choice(["south", "west"]))


def thin_slices_of_one_class(rows, rng):
    for row in rows:
        row["scan"]["thickness_mm"] = float(rng.choice([0.8, 1.0, 1.5] if is_last(row) else [3, 5]))


def diagnosis_but_for_one_case(rows, rng):
    for row in rows:
        row["histology"] = f"type of {row['label']}"
    other = next(row for row in rows if row["label"] != rows[5]["label"])
    rows[5]["histology"] = other["histology"]


def graded_if_malignant(rows, rng):
    for row in rows:
        row["grade"] = str(rng.integers(1, 4)) if is_last(row) and rng.random() < 0.6 else ""


def copied_crop(rows, rng):
    rows[20]["summary"] = {**rows[3]["summary"]}


def copied_scan_with_another_mask(rows, rng):
    rows[-1]["volume"] = rows[3]["volume"]


def copied_scan_with_noise(rows, rng):
    copy = rows[3]["summary"] | {
        "voxel_hash": "other",
        "mean_hu": rows[3]["summary"]["mean_hu"] + 1,
    }
    rows[20]["summary"] = copy


def identified(hu):
    return identify(hu, np.diag([2.0, 2.0, 5.0, 1.0]), np.empty(0, np.uint64)).to_record()


def copied_scan_without_a_slice(rows, rng):
    hu = rng.normal(0, 100, (40, 40, 30)).astype(np.int16)
    rows[3]["identity"] = identified(hu)
    rows[20]["identity"] = identified(np.delete(hu, 12, axis=2))


def copied_scan_with_noise_and_another_mask(rows, rng):
    hu = ndimage.gaussian_filter(rng.normal(0, 3000, (40, 40, 30)), 3)
    rows[3]["identity"] = identified(np.rint(hu).astype(np.int16))
    rows[20]["identity"] = identified(np.rint(hu + rng.normal(0, 1, hu.shape)).astype(np.int16))


PLANTED = {
    kvp_by_label: ("columns", "kVp", "problem"),
    centre_is_class: ("columns", "hospital", "problem"),
    thin_slices_of_one_class: ("columns", "slice thickness, mm", "problem"),
    diagnosis_but_for_one_case: ("giveaways", "histology", "problem"),
    graded_if_malignant: ("giveaways", "grade", "problem"),
    copied_crop: ("duplicates", "{3}, {20}", "problem"),
    copied_scan_with_another_mask: ("duplicates", "{3}, {-1}", "problem"),
    copied_scan_with_noise: ("duplicates", "{3}, {20}", "attention"),
    copied_scan_without_a_slice: ("duplicates", "{3}, {20}", "problem"),
    copied_scan_with_noise_and_another_mask: ("duplicates", "{3}, {20}", "attention"),
}


def raised(found):
    return {
        (one.check, one.subject, one.state)
        for one in found.findings
        if one.state in ("problem", "attention")
    }


@pytest.mark.parametrize("classes", [("benign", "malignant"), ("a", "b", "c")], ids=len)
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(tmp_path, plant, classes):
    study = scanned_study(tmp_path / "study", plant=plant, classes=classes, folds=False)
    check, subject, state = PLANTED[plant]
    names = list(study.cohort["case_id"])
    subject = re.sub(r"\{(-?\d+)\}", lambda match: names[int(match[1])], subject)
    found = ct.audit(study)
    assert (check, subject, state) in raised(found)
    assert found.ok == (state != "problem")
    assert all(one.remedy for one in found.findings if one.state in ("problem", "attention"))


@pytest.mark.parametrize("seed", range(10))
def test_a_clean_study_raises_nothing(tmp_path, seed):
    classes = ("benign", "malignant") if seed < 8 else ("a", "b", "c")
    found = ct.audit(scanned_study(tmp_path / "study", seed=seed, classes=classes))
    assert raised(found) == set()
    assert found.ok
    assert {one.check for one in found.findings} == {"duplicates", "giveaways", "columns", "folds"}


def test_the_command_names_what_it_found_and_writes_page_json_and_tables(tmp_path):
    study = scanned_study(tmp_path / "study", plant=kvp_by_label)
    done = ctbone("audit", "--study", study.root)
    assert done.returncode == 1, done.stderr
    assert "problem: kVp: the scan, without the lesion, predicts the class" in done.stdout
    folder = study.root / "audit"
    assert "match the classes by kVp" in (folder / "index.html").read_text()
    (row,) = pd.read_csv(folder / "tables" / "audit_columns.csv").query("subject == 'kVp'").iloc
    assert 0.5 < row["value_low"] < row["value"] < row["value_high"] <= 1
    content = json.loads((folder / "audit.json").read_text())
    assert content["inputs"] == audit_inputs(study)
    assert ctbone("audit", "--study", scanned_study(tmp_path / "clean").root).returncode == 0


def test_the_area_is_of_cases_that_the_fit_has_not_seen(tmp_path):
    """A text of a level for three cases each fits the label well where it was fitted."""

    def triples(rows, rng):
        for number, row in enumerate(rows):
            row["place"] = f"town {number // 3}"

    study = scanned_study(tmp_path / "study", plant=triples)
    columns = audit_columns(study, read_cohort(study))
    (place,) = [column for column in columns if column.name == "place"]
    task = Task.of(place.cases, study.settings)
    features = place.features()
    fitted = logistic(features, task.labels, features, 2)
    assert auc(task.labels == 1, fitted[:, 1]) > 0.75
    (found,) = shortcut_findings([place], study.settings)
    assert found.value.value < 0.7


def test_folds_keep_patients_together_and_the_area_is_the_rank_statistic(tmp_path):
    study = scanned_study(tmp_path / "study", plant=kvp_by_label)
    cases = read_cohort(study).internal
    task = Task.of(cases, study.settings)
    assert all(len(set(task.folds[task.patients == one])) == 1 for one in task.patients)
    scores = np.random.default_rng(0).random((len(cases), 2))
    assert task.area(scores).value == auc(task.labels == 1, scores[:, 1])
    # The p-value is where the interval's lower end meets 0.5.
    scores[:, 1] += 0.15 * task.labels
    p = task.p_value(scores)
    assert 1e-9 < p < 0.2
    assert task.area(scores, 1 - p).low == pytest.approx(0.5, abs=1e-4)


def test_a_missing_value_that_tells_the_class_is_found(tmp_path):
    def unknown(rows, rng):
        for row in rows:
            if is_last(row) and rng.random() < 0.85:
                row["scan"]["kernel"] = ""

    study = scanned_study(tmp_path / "study", plant=unknown)
    assert ("columns", "kernel", "problem") in raised(ct.audit(study))


def test_biology_is_no_shortcut_and_size_is_not_tested(tmp_path):
    def old_and_large(rows, rng):
        for row in rows:
            row["age"] = f"{rng.normal(60 if is_last(row) else 40, 12):.0f}"
            row["summary"]["lesion_ml"] *= 5 if is_last(row) else 1

    found = ct.audit(scanned_study(tmp_path / "study", plant=old_and_large))
    states = {one.subject: (one.state, one.p) for one in found.findings}
    assert states["age"][0] == "information"
    assert states["age"][1] < 0.001
    assert states["lesion volume, ml"] == ("information", None)


def test_a_table_sorted_by_class_and_dates_are_seen(tmp_path):
    def collected_later(rows, rng):
        rows.sort(key=is_last)
        for number, row in enumerate(rows):
            row["scan_date"] = str(np.datetime64("2015-01-01") + number)

    study = scanned_study(tmp_path / "study", plant=collected_later)
    assert {
        ("columns", "order of the table", "attention"),
        ("columns", "scan_date", "problem"),
    } <= raised(ct.audit(study))


def test_several_lesions_of_one_patient_in_one_scan_are_in_order(tmp_path):
    study = scanned_study(tmp_path / "study")
    assert study.cohort["patient_id"].duplicated().any()
    (found,) = [one for one in ct.audit(study).findings if one.check == "duplicates"]
    assert found.state == "clear"


def test_a_patient_on_both_sides_is_refused(tmp_path):
    study = scanned_study(tmp_path / "study")
    table = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    table.loc[len(table) - 1, "patient_id"] = table.loc[3, "patient_id"]
    table.to_csv(study.cohort_csv, index=False)
    with pytest.raises(CohortError, match="both internal and external"):
        ct.audit(study)


def test_folds_that_were_edited_are_a_problem(tmp_path):
    study = scanned_study(tmp_path / "study")
    text = study.folds_csv.read_text()
    study.folds_csv.write_text(text.replace("train", "test", 1))
    assert ("folds", "folds", "problem") in raised(ct.audit(study))


def test_a_centre_with_one_class_is_named(tmp_path):
    def benign_centre(rows, rng):
        for row in rows:
            if row["cohort"] == "centre3":
                row["label"] = "benign"

    study = scanned_study(tmp_path / "study", plant=benign_centre)
    assert ("folds", "external centre centre3", "attention") in raised(ct.audit(study))


def test_never_validated_cases_are_counted(tmp_path):
    study = scanned_study(tmp_path / "study")
    (found,) = [one for one in ct.audit(study).findings if one.subject == "never a validation case"]
    roles = study.folds.filter(like="role_")
    assert found.value == sum("val" not in set(row) for row in roles.to_numpy())
    assert 0 < found.value < len(roles)


def test_an_audit_of_another_state_is_refused_by_name(tmp_path):
    study = scanned_study(tmp_path / "study")
    with pytest.raises(AuditError, match="no audit"):
        read_findings(study)
    assert audit_section(study) is None
    made = ct.audit(study)
    assert read_findings(study) == tuple(made.findings)
    assert audit_section(study).title == "Audit"
    study.cohort_csv.write_text(study.cohort_csv.read_text().replace(",F,", ",M,", 1))
    with pytest.raises(AuditError) as error:
        read_findings(study)
    assert "cohort.csv" in error.value.found
    assert "cohort.csv" in audit_section(study).text
    study.audit_json.write_text("{}")
    with pytest.raises(AuditError, match="cannot be read"):
        read_findings(study)


def test_no_date_and_no_patient_is_written(tmp_path):
    study = scanned_study(tmp_path / "study", plant=copied_crop)
    page = ct.audit(study).path
    written = page.read_text() + study.audit_json.read_text()
    assert not re.search(r"20\d\d-\d\d-\d\d|P0\d\d\d", written)


def test_a_study_of_one_table_only_is_audited_as_far_as_it_goes(study):
    found = ct.audit(study)
    states = {one.subject: one.state for one in found.findings}
    assert (states["acquisition"], states["folds"], states["all cases"]) == ("open",) * 3
    assert not audit_columns(study, read_cohort(study))[0].name.startswith("kVp")
    assert {"check", "subject", "value", "low", "high", "p", "remedy"} <= set(found.table)


def test_many_columns_do_not_make_one_of_them_significant(tmp_path):
    """Forty columns of noise: some reach p < .05 by themselves, none after the adjustment."""

    def noise(rows, rng):
        for row in rows:
            row |= {f"x{number}": f"{rng.normal():.3f}" for number in range(40)}

    study = scanned_study(tmp_path / "study", plant=noise)
    cohort = read_cohort(study)
    found = shortcut_findings(audit_columns(study, cohort), study.settings)
    assert {one.state for one in found} <= {"clear", "information"}
    assert min(one.p for one in found if one.p is not None) > 0.05
