import csv
import json
from collections import Counter, defaultdict
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from ctbone.errors import PhantomError
from ctbone.phantom.case import render_case
from ctbone.phantom.cohort import PhantomCohort, draw_cohort, write_cohort

SMALL = PhantomCohort(internal=7, external={"centre2": 2, "centre3": 2}, scale=0.3, seed=4)


def rows(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, calls = tmp_path_factory.mktemp("cohort"), []
    write_cohort(path, SMALL, lambda done, total: calls.append((done, total)))
    assert calls == [(n, 11) for n in range(1, 12)]
    return path


def content(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_cohort_table_keeps_the_contract(folder):
    table = rows(folder / "cohort.csv")
    assert list(table[0]) == [
        "case_id",
        "patient_id",
        "label",
        "cohort",
        "image",
        "mask",
        "age",
        "sex",
        "site",
    ]
    assert [row["case_id"] for row in table][:1] + [row["case_id"] for row in table][-1:] == [
        "C1_001",
        "C3_002",
    ]
    assert Counter(row["cohort"] for row in table) == {"internal": 7, "centre2": 2, "centre3": 2}
    assert {row["label"] for row in table} == {"benign", "malignant"}
    for row in table:
        assert (folder / row["image"]).is_dir()
        assert (folder / row["mask"]).is_file()
        assert 6 <= int(row["age"]) <= 85


def test_masks_lie_on_the_lesion_in_the_dicom_images(folder):
    for row in rows(folder / "cohort.csv"):
        reader = sitk.ImageSeriesReader()
        folders = str(folder / row["image"])
        names = max(
            (
                reader.GetGDCMSeriesFileNames(folders, uid)
                for uid in reader.GetGDCMSeriesIDs(folders)
            ),
            key=len,
        )
        reader.SetFileNames(names)
        image, mask = reader.Execute(), sitk.ReadImage(str(folder / row["mask"]))
        assert sorted(image.GetSize()) == sorted(mask.GetSize())
        moved = sitk.Resample(
            mask, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8
        )
        assert sitk.GetArrayFromImage(moved).sum() == sitk.GetArrayFromImage(mask).sum() > 0
        inside = sitk.GetArrayFromImage(image)[sitk.GetArrayFromImage(moved) > 0]
        assert -150 < np.median(inside) < 500


def test_scores_keep_the_contract(folder):
    scores = rows(folder / "scores.csv")
    assert list(scores[0]) == [
        "reader_id",
        "level",
        "session",
        "case_id",
        "score",
        "read_at",
        "seconds",
    ]
    assert {int(row["score"]) for row in scores} <= {1, 2, 3, 4, 6, 7, 8, 9}
    read = defaultdict(list)
    for row in scores:
        read[row["reader_id"], row["session"]].append(row["case_id"])
    external = ["C2_001", "C2_002", "C3_001", "C3_002"]
    internal = [f"C1_{n:03d}" for n in range(1, 8)]
    assert len(read) == 12
    for (reader, session), cases in read.items():
        expected = external + internal if (reader, session) == ("senior_1", "unaided") else external
        assert sorted(cases) == sorted(expected)


def test_truth_records_all_drawn_parameters(folder):
    truth = json.loads((folder / "truth.json").read_text())
    assert truth["settings"]["seed"] == 4
    assert len(truth["cases"]) == 11
    assert {"patient", "lesion", "scan", "label"} <= set(truth["cases"][0])
    assert truth["cases"][0]["lesion"]["appearance"]["rim_mm"] >= 0


def test_equal_settings_write_equal_bytes_whatever_the_workers(folder, tmp_path):
    write_cohort(tmp_path, SMALL, workers=2)
    first, second = content(folder), content(tmp_path)
    assert first.keys() == second.keys()
    assert all(
        first[name] == second[name] for name in first if not name.endswith((".nii.gz", ".nrrd"))
    )
    for row in rows(folder / "cohort.csv"):
        masks = [sitk.ReadImage(str(path / row["mask"])) for path in (folder, tmp_path)]
        assert np.array_equal(*(sitk.GetArrayFromImage(mask) for mask in masks))


def test_a_case_does_not_depend_on_how_many_follow():
    few, many = (
        draw_cohort(replace(SMALL, internal=10)),
        draw_cohort(replace(SMALL, internal=10, external={"centre2": 1})),
    )
    assert few[:10] == many[:10]


def test_shuffled_labels_keep_their_counts_and_lose_their_meaning():
    plain = draw_cohort(PhantomCohort(seed=1))
    shuffled = draw_cohort(PhantomCohort(seed=1, shuffle_labels=True))
    for a, b in zip(plain, shuffled, strict=True):
        assert replace(b, label=a.label) == a
    counts = [Counter((case.cohort, case.label) for case in cases) for cases in (plain, shuffled)]
    assert counts[0] == counts[1]
    truth = np.array([case.lesion.class_name == "malignant" for case in shuffled])
    labels = np.array([case.label == "malignant" for case in shuffled])
    assert abs(np.corrcoef(truth, labels)[0, 1]) < 0.1


def test_defaults_are_the_demo_cohort():
    cases = draw_cohort(PhantomCohort())
    assert Counter(case.cohort for case in cases) == {"internal": 80, "centre2": 10, "centre3": 10}
    assert Counter(case.label for case in cases if case.cohort == "internal") == {
        "malignant": 48,
        "benign": 32,
    }
    patients = Counter(case.patient_id for case in cases)
    assert 2 <= sum(count == 2 for count in patients.values()) <= 6
    for case in cases:
        original = next(other for other in cases if other.case_id == case.patient_id)
        assert case.patient == original.patient
        assert case.lesion.class_name == original.lesion.class_name
    assert {case.scan.position for case in cases} >= {"HFS", "FFS", "HFP"}
    assert any(case.scan.oblique_deg for case in cases)
    assert any(case.localizer for case in cases)
    assert {case.mask_suffix for case in cases} == {".nii.gz", ".nrrd"}


def test_ages_and_sexes_follow_the_paper():
    cases = draw_cohort(PhantomCohort(internal=1200, external={}))
    patients = {"benign": [], "malignant": []}
    for case in cases:
        patients[case.label].append(case.patient)
    ages = {name: [patient.age for patient in drawn] for name, drawn in patients.items()}
    assert np.mean(ages["benign"]) == pytest.approx(38.3, abs=2)
    assert np.mean(ages["malignant"]) == pytest.approx(43.3, abs=2)
    women = {
        name: np.mean([patient.sex == "female" for patient in drawn])
        for name, drawn in patients.items()
    }
    assert women["benign"] == pytest.approx(0.55, abs=0.05)
    assert women["malignant"] == pytest.approx(0.43, abs=0.05)


def test_a_rendered_mask_is_on_the_images_grid():
    case = draw_cohort(SMALL)[0]
    rendered = render_case(case)
    assert rendered.hu.shape == rendered.mask.shape == case.scan.shape
    volume = rendered.mask.sum() * abs(np.linalg.det(rendered.affine[:3, :3])) / 1000
    assert volume == pytest.approx(case.lesion.volume_ml, rel=0.1)
    middle = rendered.affine @ np.append(np.argwhere(rendered.mask).mean(axis=0), 1)
    assert (
        np.linalg.norm(middle[:3] - case.lesion.centre - np.array(case.scan.table_mm))
        < 1.5 * case.lesion.radius_mm
    )


def test_classes_may_have_any_order_and_shares():
    cases = draw_cohort(
        PhantomCohort(internal=10, external={}, classes=("malignant", "benign"), shares=(1, 4))
    )
    assert Counter(case.label for case in cases) == {"malignant": 2, "benign": 8}


def test_a_real_cohort_is_not_overwritten(tmp_path):
    (tmp_path / "cohort.csv").write_text("case_id\n")
    with pytest.raises(PhantomError, match="not synthetic"):
        write_cohort(tmp_path, SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["cohort.csv"]


@pytest.mark.parametrize(
    "wrong", [{"shares": (1.0,)}, {"shares": (1.0, 0.0)}, {"external": {"internal": 3}}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(PhantomError):
        PhantomCohort(**wrong)


def test_masks_are_plain_nifti(folder):
    for row in rows(folder / "cohort.csv"):
        if row["mask"].endswith(".nii.gz"):
            image = nib.load(folder / row["mask"])
            assert set(np.unique(np.asarray(image.dataobj))) == {0, 1}
            assert image.header["sform_code"] == image.header["qform_code"] == 1
