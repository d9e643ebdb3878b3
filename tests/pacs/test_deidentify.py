"""What de-identification removes and keeps, against the whole dictionary of DICOM."""

from __future__ import annotations

import copy
import io

import pydicom
import pytest
from pydicom.datadict import DicomDictionary

from ctbone.config import DicomSettings, Settings
from ctbone.dicom import list_series
from ctbone.pacs import PacsError, RateLimit, pull_case
from ctbone.pacs.deidentify import deidentified
from tests.dicom.test_one_scan import INTERLEAVED, edit, setting
from tests.dicom.writer import Plan, ramp, write_series

from .test_pull import PRIVATE, WANTED, Played

TOKENS = {
    **dict.fromkeys(("LO", "SH", "PN", "ST", "LT", "UT", "UC", "UR", "AE", "CS"), PRIVATE),
    **dict.fromkeys(("DA", "DT"), "19770301"),
    **dict.fromkeys(("OB", "UN", "OW"), f"{PRIVATE}X".encode()),
    "UI": "1.2.777.3",
    "AS": "077Y",
}
"""A private value for each value representation that holds text."""
LEFT = ("SOPClassUID", "PixelData")
"""The class decides whether the image is taken; pixels are the purpose."""


def planted(image: pydicom.Dataset) -> int:
    """Plant a token in every attribute of the dictionary that takes one; return how many."""
    count = 0
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        first = vr.split(" or ")[0]
        if keyword not in LEFT and tag >= 0x00080000 and first in TOKENS:
            image.add_new(tag, first, TOKENS[first])
            count += 1
    return count


def written(image: pydicom.Dataset) -> bytes:
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture
def image(tmp_path):
    return pydicom.dcmread(write_series(tmp_path / "one", Plan(ramp(1)))[0])


def test_no_text_of_any_attribute_survives(image):
    """Each attribute of the dictionary holds a token, and so does each one of two sequences."""
    shared, measures, request = (pydicom.Dataset() for _ in range(3))
    count = sum(planted(item) for item in (image, shared, measures, request))
    shared.PixelMeasuresSequence = [measures]
    image.SharedFunctionalGroupsSequence = [shared]
    image.RequestAttributesSequence = [request]
    block = image.private_block(0x0011, PRIVATE, create=True)
    block.add_new(0x01, "LO", PRIVATE)
    assert count > 7_000
    content = written(deidentified(image, "C001", b"salt"))
    for token in (PRIVATE, "1.2.777", "19770301", "077Y"):
        assert token.encode() not in content, token
    assert b"C001" in content


def test_text_in_place_of_a_number_is_dropped(image):
    image.add_new("KVP", "LO", PRIVATE)
    del image["SliceThickness"]
    tag = pydicom.tag.Tag("SliceThickness")
    image._dict[tag] = pydicom.dataelem.RawDataElement(tag, "DS", 10, b"XPLANTEDX ", 0, False, True)
    kept = deidentified(image, "C001", b"salt")
    assert PRIVATE.encode() not in written(kept)
    assert "KVP" not in kept


def test_only_ct_images_are_taken(image):
    image.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage  # a page with the patient's name
    with pytest.raises(PacsError, match="not a CT image"):
        deidentified(image, "C001", b"salt")


def test_the_method_is_recorded_in_the_terms_of_the_standard(image):
    kept = deidentified(image, "C001", b"salt")
    codes = [item.CodeValue for item in kept.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107"]
    assert kept.PatientIdentityRemoved == "YES"
    assert kept.LongitudinalTemporalInformationModified == "MODIFIED"


MIXED = {
    **{keyword: value_of for keyword, (value_of, _) in INTERLEAVED.items()},
    "PatientID": lambda k: f"{PRIVATE}{k % 2}",
    "FrameOfReferenceUID": lambda k: f"1.2.77.{k % 2}",
    "RescaleType": lambda k: ("HU", f"{PRIVATE}")[k % 2],
    "MonoenergeticEnergyEquivalent": lambda k: (40.0, 70.0)[k % 2],
}


@pytest.mark.parametrize("keyword", MIXED)
def test_scans_and_patients_can_be_told_apart_as_before(tmp_path, study, keyword):
    """Whatever separates scans, or forbids to merge them, does so in the pulled files too."""
    paths = write_series(tmp_path / "in", Plan(ramp(8, 6, 5), gap=2.0))
    edit(paths, setting(keyword, MIXED[keyword]))
    done = pull_case(study, WANTED, Played(paths), deid="basic", limit=RateLimit(None))
    assert done.images == 8

    def listed(folder):
        found = list_series(folder, DicomSettings())
        # in no order: files have new names, and scans are listed in the order of their files
        return sorted((one.part, one.verdict, one.reason, one.slices, one.note) for one in found)

    before = listed(tmp_path / "in")
    assert before != listed(write_series(tmp_path / "plain", Plan(ramp(8, 6, 5)))[0].parent)
    assert listed(study.exports / "C001") == before


def test_times_keep_their_distances_only(tmp_path, image):
    """Times of one examination move together, by a span that the salt decides."""
    image.AcquisitionDate, image.AcquisitionTime = "20240229", "235959.5"
    later = copy.deepcopy(image)
    later.AcquisitionDate, later.AcquisitionTime = "20240301", "000001.75"
    moved = [
        pydicom.valuerep.DT(deidentified(one, "C001", b"salt").AcquisitionDateTime)
        for one in (image, later)
    ]
    assert (moved[1] - moved[0]).total_seconds() == pytest.approx(2.25, abs=1e-4)
    assert 1993 < moved[0].year < 2015
    other = deidentified(image, "C001", b"other salt").AcquisitionDateTime
    assert str(other) != str(deidentified(image, "C001", b"salt").AcquisitionDateTime)


def test_the_study_says_whether_images_are_deidentified():
    assert Settings(name="a").pacs.deid == "basic"
    settings = Settings.model_validate({"name": "a", "pacs": {"deid": "none"}})
    assert settings.pacs.deid == "none"
