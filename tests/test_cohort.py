import pytest

from ctbone.cohort import check_cohort, read_cohort
from ctbone.errors import CohortError, StudyError
from tests.conftest import cohort_rows, write_rows


def rewrite(study, change) -> None:
    rows = cohort_rows()
    change(rows)
    write_rows(study.cohort_csv, rows)


def test_a_cohort_is_read_as_written(study):
    cohort = read_cohort(study)
    assert (len(cohort), len(cohort.internal), len(cohort.external)) == (36, 30, 6)
    case = cohort.case("C003")
    assert (case.patient_id, case.label, case.cohort) == ("P001", "malignant", "internal")
    assert case.image == study.root / "dicom/C003"
    assert dict(case.metadata) == {"age": "33", "sex": "M"}


def test_only_case_label_and_image_are_needed(study):
    study.cohort_csv.write_text("case_id,label,image\nA,0,a.nii\nB,Malignant,/data/b.nii\n")
    first, second = read_cohort(study)
    assert (first.patient_id, first.label, first.cohort, first.mask) == (
        "A",
        "benign",
        "internal",
        None,
    )
    assert (second.label, str(second.image)) == ("malignant", "/data/b.nii")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: rows[4].update(case_id="C003"),
            ["case C003", "row 5 has this case_id already", "row 6"],
        ),
        (lambda rows: rows[4].update(case_id="c003"), ["row 5 has this case_id already"]),
        (
            lambda rows: rows[4].update(label="maligant"),
            ["case C004", "row 6", "'maligant'", "benign, malignant"],
        ),
        (lambda rows: rows[4].update(label="2"), ["not one of the classes"]),
        (lambda rows: rows[4].update(label=""), ["not one of the classes"]),
        (lambda rows: rows[4].update(case_id="../../etc"), ["cannot name a file"]),
        (lambda rows: rows[4].update(case_id=""), ["cannot name a file"]),
        (lambda rows: rows[4].update(case_id="=cmd()"), ["cannot name a file"]),
        (lambda rows: rows[4].update(image=""), ["no image"]),
        (lambda rows: rows[4].update(cohort="a/b"), ["name of the cohort"]),
    ],
)
def test_a_faulty_row_is_named(study, change, words):
    rewrite(study, change)
    with pytest.raises(CohortError) as caught:
        read_cohort(study)
    assert [word for word in words if word not in str(caught.value)] == []


def test_all_faults_are_listed_and_the_first_counts_them(study):
    rewrite(
        study,
        lambda rows: (
            rows[2].update(label="x"),
            rows[7].update(label="y"),
            rows[9].update(case_id="C001"),
        ),
    )
    assert len([p for p in check_cohort(study) if p.case in ("C002", "C007", "C001")]) >= 3
    with pytest.raises(CohortError, match="2 more problems: 'ctbone check'"):
        read_cohort(study)


def test_missing_images_and_masks_are_listed(study):
    for row in cohort_rows()[:-1]:
        for name in (row["image"], row["mask"]):
            (study.root / name).parent.mkdir(exist_ok=True)
            (study.root / name).touch()
    assert [(p.case, p.problem) for p in check_cohort(study)] == [
        ("C035", "the image does not exist"),
        ("C035", "the mask does not exist"),
    ]


def test_fewer_patients_of_a_class_than_folds(study):
    rewrite(study, lambda rows: [row.update(label="benign") for row in rows[5:]])
    problems = [p for p in check_cohort(study) if "fewer internal patients" in p.problem]
    assert [(p.found, p.expected) for p in problems] == [
        ("1", "5 or more")
    ]  # C001 and C003 are one patient


@pytest.mark.parametrize("text", ["", "case_id,label,image\n", "case_id,image\nA,b\n"])
def test_an_empty_or_short_table_is_refused(study, text):
    study.cohort_csv.write_text(text)
    assert check_cohort(study)
    with pytest.raises((CohortError, StudyError)):
        read_cohort(study)


def test_a_missing_table_is_a_problem(study):
    study.cohort_csv.unlink()
    assert "missing" in check_cohort(study)[0].problem


def test_an_unknown_case_names_the_nearest(study):
    with pytest.raises(CohortError, match="did you mean 'C012'"):
        read_cohort(study).case("C0012")
