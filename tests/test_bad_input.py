"""Wrong input at the command line: a message with file, case and remedy, exit code 2, no output."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import write_rows
from tests.test_cli import ctbone

SETTINGS = """
name: small
preprocess: {crop_3d: {size: 16, spacing: 2.0, margin: 2}, images_2d: {size: 16, margin: 2}}
folds: {count: 2, validation_share: 0.3}
training: {epochs: 1, batch_size: 4}
models:
  3d:
    dim: 3d
    network: densenet
    network_options: {block_config: [1], growth_rate: 4, init_features: 4}
fusion: {combinations: {3d+reader: [3d, reader]}}
"""


def rows() -> list[dict[str, str]]:
    return [
        {
            "case_id": f"S{number:02d}",
            "patient_id": f"S{number:02d}",
            "label": ("benign", "malignant")[number % 2],
            "cohort": "internal",
            "image": f"images/S{number:02d}.nii.gz",
            "mask": f"masks/S{number:02d}.nii.gz",
        }
        for number in range(16)
    ]


def save(path, data, shift=(0, 0, 0)) -> None:
    affine = np.eye(4)
    affine[:3, 3] = shift
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny study, preprocessed and trained, that each test takes a copy of."""
    root = tmp_path_factory.mktemp("trained")
    (root / "study.yaml").write_text(SETTINGS)
    write_rows(root / "cohort.csv", rows())
    for number, row in enumerate(rows()):
        rng = np.random.default_rng(number)
        save(root / row["image"], rng.normal(40, 20, (24, 24, 24)).astype(np.int16))
        mask = np.zeros((24, 24, 24), np.uint8)
        mask[8:16, 9:15, 7:17] = 1
        save(root / row["mask"], mask)
    scores = [
        f"r1,senior,unaided,{row['case_id']},{3 + 4 * (n % 2)}" for n, row in enumerate(rows())
    ]
    (root / "scores.csv").write_text(
        "\n".join(["reader_id,level,session,case_id,score", *scores]) + "\n"
    )
    for command in (["preprocess", "--workers", "1"], ["train"]):
        done = ctbone(*command, "--study", root)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def study(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "study")


def written(root) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".custody.json"
    }


def refuse(study, command, words) -> None:
    before = written(study)
    done = ctbone(*command, "--study", study)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stderr
    assert written(study) == before


def test_an_empty_mask(study):
    save(study / "masks/S03.nii.gz", np.zeros((24, 24, 24), np.uint8))
    refuse(study, ["check"], ["S03", "masks/S03.nii.gz", "empty", "remedy"])


def test_a_mask_that_does_not_overlap_its_image(study):
    mask = nib.load(study / "masks/S03.nii.gz")
    save(study / "masks/S03.nii.gz", np.asarray(mask.dataobj), shift=(500, 0, 0))
    refuse(study, ["check"], ["S03", "masks/S03.nii.gz", "remedy"])


def test_an_image_that_is_no_image(study):
    (study / "images/S05.nii.gz").write_bytes(b"not an image")
    refuse(study, ["check"], ["S05", "images/S05.nii.gz"])


def test_a_bad_case_stops_no_other(study):
    save(study / "masks/S03.nii.gz", np.zeros((24, 24, 24), np.uint8))
    shutil.rmtree(study / "crops")
    done = ctbone("preprocess", "--workers", "1", "--study", study)
    assert done.returncode == 1
    assert "S03" in done.stderr
    assert "15 cases are ready" in done.stdout
    assert len(list((study / "crops/3d").glob("*.nii"))) == 15


def test_a_score_at_the_midpoint(study):
    text = (study / "scores.csv").read_text()
    (study / "scores.csv").write_text(text.replace("S02,3", "S02,5"))
    refuse(
        study,
        ["fuse", "--with-reader", study / "scores.csv"],
        ["S02", "scores.csv, row 4", "midpoint", "remedy"],
    )


def test_a_score_of_a_case_that_is_not_in_the_cohort(study):
    with (study / "scores.csv").open("a") as file:
        file.write("r1,senior,unaided,S99,7\n")
    refuse(
        study,
        ["fuse", "--with-reader", study / "scores.csv"],
        ["S99", "scores.csv, row 18", "not in the cohort"],
    )


@pytest.mark.parametrize("command", ["train", "fuse"])
def test_folds_of_another_cohort(study, command):
    changed = rows()
    changed[6]["label"] = "malignant"
    write_rows(study / "cohort.csv", changed)
    arguments = ["--with-reader", study / "scores.csv"] if command == "fuse" else []
    refuse(study, [command, *arguments], ["S06"])


def test_a_fold_file_that_was_edited(study):
    text = (study / "folds.csv").read_text()
    (study / "folds.csv").write_text(text.replace("val", "train", 1))
    refuse(study, ["train"], ["folds.csv", "changed after they were drawn", "remedy"])


def test_scores_that_are_not_there(study):
    refuse(study, ["fuse", "--with-reader", "nowhere.csv"], ["nowhere.csv", "missing"])


def test_crops_of_other_settings_are_not_trained_on(study):
    (study / "study.yaml").write_text(
        SETTINGS.replace("size: 16, spacing: 2.0", "size: 16, spacing: 1.5")
    )
    shutil.rmtree(study / "runs")
    refuse(study, ["train"], ["S00", "made with other settings", "ctbone preprocess"])


def test_the_whole_of_it_goes_through_when_nothing_is_wrong(study):
    assert ctbone("check", "--study", study).returncode == 0
    done = ctbone("fuse", "--with-reader", "scores.csv", "--study", study, cwd=study)
    assert done.returncode == 0, done.stderr
    done = ctbone("report", "--study", study)
    assert done.returncode == 0, done.stderr
    assert (study / "report/index.html").is_file()
