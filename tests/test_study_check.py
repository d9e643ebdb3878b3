"""``ctbone check`` lists every problem of a study in one go; a clean study has no notice."""

from __future__ import annotations

import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import yaml

from ctbone.study_check import _BUILT_IN
from tests.conftest import cohort_rows, write_rows
from tests.test_cli import ctbone


@pytest.fixture
def clean(study):
    """A study of which nothing is wrong: a scan for each case, one mask, one reader."""
    write_volumes(study.root)
    rewrite(study)
    write_scores(study, [f"r1,senior,unaided,{row['case_id']},7" for row in cohort_rows()])
    return study


def write_volumes(root):
    mask = np.zeros((10, 12, 14), np.uint8)
    mask[3:7, 3:7, 3:7] = 1
    volumes = {"mask": mask}
    for number, row in enumerate(cohort_rows()):
        random = np.random.default_rng(number)
        volumes[row["case_id"]] = random.integers(-1000, 1000, mask.shape, dtype=np.int16)
    for name, voxels in volumes.items():
        nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])).to_filename(root / f"{name}.nii.gz")


def rewrite(study, change=lambda rows: None, drop=()):
    rows = [
        {**row, "image": f"{row['case_id']}.nii.gz", "mask": "mask.nii.gz"} for row in cohort_rows()
    ]
    change(rows)
    kept = [{name: cell for name, cell in row.items() if name not in drop} for row in rows]
    write_rows(study.cohort_csv, kept)


def write_scores(study, rows):
    study.scores_csv.write_text("\n".join(["reader_id,level,session,case_id,score", *rows]) + "\n")


def settings(study, **sections):
    study.settings_file.write_text(yaml.safe_dump({"name": "test", **sections}))


def said(done):
    """Standard error without the progress."""
    return "".join(line for line in done.stderr.splitlines() if not line.startswith("Check "))


def check(study):
    return ctbone("check", "--study", study.root, "--workers", 1)


def refused(study, *words):
    done = check(study)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    return done.stderr


def test_a_clean_study_has_no_notice(clean):
    done = check(clean)
    assert (done.returncode, said(done)) == (0, "")
    assert done.stdout == "36 cases are in order: 30 internal, 6 external\n"


def test_every_problem_in_one_go(clean):
    """Faults of rows, of an image, of a mask, of scores, of settings: none hides another."""

    def spoil(rows):
        rows[0]["label"] = "Malignent"
        rows[1]["image"] = "nowhere"
        rows[2]["mask"] = "study.yaml"
        rows[3]["cohort"] = "Internal"
        rows[4]["image"] = "cohort.csv"

    rewrite(clean, spoil)
    scores = [f"r1,senior,unaided,{row['case_id']},7" for row in cohort_rows()[2:]]
    write_scores(clean, [*scores, "r1,senior,unaided,C000,5", "r1,senior,unaided,C0001,7"])
    settings(
        clean,
        models={
            "3d": {"dim": "3d", "network": "densnet121", "metadata": ["agee"]},
            "2d": {"dim": "2d", "weights": "w.safetensors", "training": {"loss": "focall"}},
        },
    )
    text = refused(clean)
    for words in (
        "case C000: the label is not one of the classes",
        "did you mean 'malignant'?",
        "case C001: the image does not exist",
        "case C002: ",  # the mask is no mask
        "cohort 'Internal'",
        "did you mean 'internal'?",
        "case C004: ",  # the image is no image
        "case C000: a score of 5",
        "case C0001: the scored case is not in the cohort",
        "did you mean 'C001'?",
        "densnet121",
        "did you mean 'densenet121'?",
        "w.safetensors",
        "did you mean 'focal'?",
        "agee",
        "did you mean 'age'?",
    ):
        assert words in text, words
    assert "problems in" in text


@pytest.mark.parametrize("name", ["Internal", "INTERNAL", "intern", "internal_2", "interal"])
def test_a_spelling_of_internal_is_no_external_centre(clean, name):
    rewrite(clean, lambda rows: [row.update(cohort=name) for row in rows[:10]])
    text = refused(clean, f"the cohort '{name}'", "did you mean 'internal'?", "10 rows, from row 2")
    assert "1 problem in" in text  # one, and not one for each row


@pytest.mark.parametrize("command", ["preprocess", "train"])
def test_a_spelling_of_internal_stops_every_command(clean, command):
    rewrite(clean, lambda rows: [row.update(cohort="Internal") for row in rows[:10]])
    done = ctbone(command, "--study", clean.root)
    assert (done.returncode, "the cohort 'Internal'" in done.stderr) == (2, True)


def test_blanks_around_internal_are_no_other_cohort(clean):
    rewrite(clean, lambda rows: [row.update(cohort=" internal ") for row in rows[:10]])
    assert check(clean).returncode == 0


def test_two_spellings_of_one_centre(clean):
    rewrite(clean, lambda rows: rows[-1].update(cohort="Centre2"))
    refused(clean, "'Centre2'", "did you mean 'centre2'?")


@pytest.mark.parametrize("name", ["external", "centre_1", "international", "Interlaken"])
def test_other_names_are_external_centres(clean, name):
    rewrite(clean, lambda rows: [row.update(cohort=name) for row in rows[30:]])
    assert check(clean).returncode == 0


def test_one_patient_internal_and_external(clean):
    rewrite(clean, lambda rows: rows[33].update(patient_id="P007"))
    text = refused(clean, "patient P007 is both internal and external", "C007", "C033", "centre2")
    assert "1 problem in" in text
    done = ctbone("train", "--study", clean.root)
    assert (done.returncode, "both internal and external" in done.stderr) == (2, True)


def test_a_patient_with_both_labels_is_noted(clean):
    rewrite(clean, lambda rows: rows[3].update(label="benign"))
    done = check(clean)
    assert (done.returncode, said(done)) == (0, "")
    assert "note: patient P001 has cases of several classes: C001 malignant, C003 benign" in (
        done.stdout
    )


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("Patient_ID", "patient_id"),
        ("PatientID", "patient_id"),
        ("cohrt", "cohort"),
        ("Mask", "mask"),
        ("Label", "label"),
        ("case", "case_id"),
    ],
)
def test_a_column_in_another_spelling(clean, wrong, right):
    text = clean.cohort_csv.read_text()
    clean.cohort_csv.write_text(text.replace(right, wrong, 1))
    refused(clean, f"'{wrong}'", f"did you mean '{right}'?")


def test_a_path_with_backslashes(clean):
    (clean.root / "dicom").mkdir()
    rewrite(clean, lambda rows: rows[5].update(image="dicom\\C005", mask="masks\\C005.nii"))
    text = refused(clean, "case C005: the path of the image has backslashes", "dicom/C005")
    assert "the path of the mask has backslashes" in text


def test_missing_scores_are_named(clean):
    rows = [f"r1,senior,unaided,{row['case_id']},7" for row in cohort_rows()]
    write_scores(clean, rows[:-3])
    refused(clean, "no reader scored every case without AI", "C033, C034, C035", "r1")
    both = [*rows[:-3], *(row.replace("r1", "r2") for row in rows)]
    write_scores(clean, both)
    done = check(clean)
    assert (done.returncode, said(done)) == (0, "")
    assert "note: reader r1 (unaided) misses 3 of 6 cases of centre2: C033, C034, C035" in (
        done.stdout
    )


def test_every_bad_row_of_the_scores(clean):
    rows = [f"r1,senior,unaided,{row['case_id']},7" for row in cohort_rows()]
    rows[3] = rows[3].replace(",7", ",5")
    rows[8] = rows[8].replace(",7", ",eleven")
    rows[9] = rows[9].replace("unaided", "Unaided")
    write_scores(clean, rows)
    refused(clean, "row 5", "row 10", "row 11", "'eleven'", "did you mean 'unaided'?")


def test_an_unknown_reader_of_the_settings(clean):
    settings(clean, fusion={"reader": "R1"})
    refused(clean, "fusion.reader", "R1", "did you mean 'r1'?")


def test_parts_that_no_table_has(clean):
    combinations = {"both": ["3D", "2d"]}
    stacking = {"stack": {"parts": ["3d"], "columns": ["sexx"]}}
    recalibration = {"flat": {"of": "bth"}}
    fusion = {"combinations": combinations, "stacking": stacking, "recalibration": recalibration}
    settings(clean, fusion=fusion)
    refused(
        clean,
        "fusion.combinations.both",
        "did you mean '3d'?",
        "fusion.stacking.stack.columns",
        "did you mean 'sex'?",
        "fusion.recalibration.flat",
        "did you mean 'both'?",
    )
    predictions = clean.root / "predictions"
    predictions.mkdir()
    (predictions / "theirs.csv").touch()
    settings(clean, fusion={"combinations": {"both": ["3d", "theirs"]}})
    assert check(clean).returncode == 0  # a table of another program


def test_plug_ins_are_found_before_anything_runs(clean):
    (clean.root / "own.py").write_text("import torch\n\nclass Net(torch.nn.Module): pass\n")
    extra = [{"name": "monai.transforms.RandGaussianNois"}]
    settings(
        clean,
        models={
            "3d": {"dim": "3d", "network": "own:Nett", "weights": "imagenet"},
            "2d": {
                "dim": "2d",
                "weights": "imagnet",
                "training": {"loss": "own.losses:mine", "augmentation": {"extra": extra}},
            },
        },
    )
    refused(
        clean,
        "own:Nett",
        "did you mean 'Net'?",
        "no ImageNet weights for the 3d network",
        "did you mean 'imagenet'?",
        "own.losses:mine",
        "did you mean 'RandGaussianNoise'?",
    )


def test_the_class_in_a_metadata_column(clean):
    def copy(rows):
        for row in rows:
            row["sex"] = "1" if row["label"] == "malignant" else "0"

    rewrite(clean, copy)
    settings(clean, models={"3d": {"dim": "3d", "metadata": ["sex"]}})
    refused(clean, "models.3d.metadata", "gives the class of every case away")


@pytest.mark.parametrize("free", [10**6, 10**13])
def test_disk_space(clean, free):
    code = (
        "import shutil, sys\nfrom collections import namedtuple\n"
        f"usage = namedtuple('usage', 'total used free')(10**13, 0, {free})\n"
        "shutil.disk_usage = lambda path: usage\n"
        "from ctbone.cli import main\n"
        f"sys.argv = ['ctbone', 'check', '--workers', '1', '--study', {str(clean.root)!r}]\n"
        "if __name__ == '__main__': main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    if free > 10**12:
        assert (done.returncode, said(done)) == (0, "")
        return
    assert done.returncode == 2
    assert "the disk has too little space" in done.stderr
    # 36 crops of 96³ voxels and 3 × 224² pixels with masks, 3 bytes a voxel; 5 folds of 2 networks.
    crops = 36 * 3 * (96**3 + 3 * 224**2) / 1e9
    weights = 4 * (11.2e6 + 7.0e6) * (5 * 4 + 1 * 4) / 1e9
    volumes = 36 * 10 * 12 * 14 * 2 * 0.7 / 1e9
    total = crops + weights + volumes
    assert f"{total:.1f} GB" in done.stderr
    assert "0.0 GB" in done.stderr


def test_built_in_networks_exist():
    from ctbone.config import ModelSettings
    from ctbone.models.networks import refuse_unknown_network

    for dim in ("2d", "3d"):
        for name in _BUILT_IN:
            refuse_unknown_network(ModelSettings(dim=dim, network=name), folder=None)


def test_the_check_of_the_default_settings_imports_no_torch(clean):
    code = (
        "import sys, ctbone as ct\n"
        f"assert ct.check({str(clean.root)!r}).ok\n"
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
