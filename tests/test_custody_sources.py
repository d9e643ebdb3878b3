"""The files that a case's image consists of, as the chain of custody hashes them."""

from ctbone.cohort import Case
from ctbone.custody import image_files, source_stat


def case_with(image) -> Case:
    return Case("C1", "P1", "benign", "internal", image, None)


def test_the_folder_of_a_missing_image_is_not_its_source(study):
    """Otherwise every file of the study would be hashed as part of the image."""
    assert source_stat(study, case_with(study.root / "none")) == ""


def test_a_file_that_vanishes_while_the_folder_is_read_is_left_out(study, monkeypatch):
    folder = study.root / "dicom" / "C1"
    folder.mkdir(parents=True)
    (folder / "1.dcm").write_bytes(b"slice")
    before = source_stat(study, case_with(folder))
    listed = image_files.source_files
    monkeypatch.setattr(
        image_files, "source_files", lambda root: [*listed(root), str(root / ".writing")]
    )
    assert source_stat(study, case_with(folder)) == before != ""
