"""Values that are not Hounsfield units are refused, and the message names their unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from .test_one_scan import edit, setting
from .writer import Plan, ramp, write_enhanced, write_series

PLAN = Plan(ramp(5, 6, 7), bits=12)


@pytest.mark.parametrize(
    ("unit", "named"),
    [
        ("Z_EFF", "Z_EFF (effective atomic number)"),
        ("MGML", "MGML (mg/ml)"),
        ("EDW", "EDW (electron density relative to water)"),
        ("ED", "ED (electron density"),
        ("HU_MOD", "HU_MOD (modified Hounsfield units)"),
        ("PCT", "PCT (percent)"),
        ("OD", "OD (optical density"),
        ("DOE^JANE", "an unknown unit"),
    ],
)
def test_another_unit_is_refused_by_its_name(tmp_path, refused, unit, named):
    paths = write_series(tmp_path / "in", PLAN)
    edit(paths, setting("RescaleType", lambda k: unit))
    error = refused(tmp_path / "in")
    assert f"the values are {named}" in error
    assert "export the series in Hounsfield units" in error
    assert "DOE" not in error
    assert named in refused(paths[0])


def test_one_slice_in_another_unit_is_enough(tmp_path, refused):
    paths = write_series(tmp_path / "in", PLAN)
    edit(paths, setting("RescaleType", lambda k: "Z_EFF" if k == 3 else "HU"))
    assert "Z_EFF" in refused(tmp_path / "in")


@pytest.mark.parametrize("unit", [None, "HU", "hu ", "US"])
def test_hu_and_an_open_unit_are_taken(tmp_path, converted, unit):
    edit(write_series(tmp_path / "in", PLAN), setting("RescaleType", lambda k: unit))
    voxels, record = converted(tmp_path / "in")
    np.testing.assert_array_equal(voxels, PLAN.stored.astype(int) - 1024)
    assert ("US (unspecified)" in (record["note"] or "")) is (unit == "US")


def test_the_unit_of_an_enhanced_file_and_of_a_lookup_table_count(tmp_path, refused):
    path = write_enhanced(tmp_path / "enhanced" / "one", PLAN, list(range(5)))
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PixelValueTransformationSequence[0].RescaleType = "MGML"
    dataset.save_as(path)
    assert "MGML (mg/ml)" in refused(tmp_path / "enhanced")
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [4096, 0, 16], "OD", [7] * 4096
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    edit(write_series(tmp_path / "table", PLAN), setting("ModalityLUTSequence", lambda k: [table]))
    assert "OD (optical density" in refused(tmp_path / "table")


@pytest.mark.parametrize(
    ("slope", "intercept", "message"),
    [
        (0, -1024, "RescaleSlope 0 gives no HU"),
        (1e10, -1024, "RescaleSlope 1e+10 gives no HU"),
        (-1, -1024, "RescaleSlope -1 gives no HU"),
        (1e-9, -1024, "RescaleSlope 1e-09 gives no HU"),
        (1, 1e30, "RescaleIntercept 1e+30 gives no HU"),
        (1, -1e6, "RescaleIntercept -1e+06 gives no HU"),
    ],
)
def test_a_slope_or_intercept_of_no_scanner_is_refused(
    tmp_path, refused, slope, intercept, message
):
    write_series(tmp_path / "in", replace(PLAN, slope=slope, intercept=intercept))
    assert message in refused(tmp_path / "in")


@pytest.mark.parametrize(
    ("slope", "intercept"), [(10.0, -10240.0), (0.5, -1024.0), (1.0, -32768.0), (2.0, 0.0)]
)
def test_slopes_and_intercepts_of_scanners_are_taken(tmp_path, converted, slope, intercept):
    plan = replace(PLAN, slope=slope, intercept=intercept)
    write_series(tmp_path / "in", plan)
    expected = np.maximum(plan.stored * slope + intercept, -1024)
    np.testing.assert_allclose(converted(tmp_path / "in")[0], expected, atol=1e-3)


@pytest.mark.parametrize(("bits", "high"), [(12, 15), (16, 11), (12, 12), (10, 11)])
def test_pixels_that_are_not_in_the_low_bits_are_refused(tmp_path, refused, bits, high):
    paths = write_series(tmp_path / "in", replace(PLAN, bits=bits))
    edit(paths, setting("HighBit", lambda k: high))
    error = refused(tmp_path / "in")
    assert f"BitsStored {bits} with HighBit {high}" in error
    assert f"expected HighBit {bits - 1}" in error


def test_a_sagittal_series_without_hu_is_not_taken_by_its_name(tmp_path, refused):
    plan = replace(PLAN, directions=((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)))
    paths = write_series(tmp_path / "in", plan)
    edit(paths, setting("RescaleSlope", lambda k: None))
    assert "the values are not HU" in refused(paths[0])
