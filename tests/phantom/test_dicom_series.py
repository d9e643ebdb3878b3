from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ctbone.errors import PhantomError
from ctbone.phantom.dicom_series import SeriesHeader, make_uid, write_series
from ctbone.phantom.scanner import draw_acquisition, scan_grid

HEADER = SeriesHeader(case_id="C1_001", seed=11)


def read(folder, uid=None):
    """HU and RAS affine as read by ITK, independently of ctbone; axes (column, row, slice)."""
    reader = sitk.ImageSeriesReader()
    ids = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid or ids[0]))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.transpose(sitk.GetArrayFromImage(image), (2, 1, 0)), np.diag([-1, -1, 1, 1]) @ affine


def assert_same_image(hu, affine, other, other_affine, *, tolerance=1e-3):
    """Compare two images; a reader may reverse the slices and the affine with them."""
    if affine[:3, 2] @ other_affine[:3, 2] < 0:
        other = other[:, :, ::-1]
        other_affine = other_affine @ np.array(
            [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, other.shape[2] - 1], [0, 0, 0, 1.0]]
        )
    np.testing.assert_allclose(other_affine, affine, atol=tolerance)
    assert np.array_equal(other, hu)


def volume(shape=(7, 5, 4), seed=0):
    return np.random.default_rng(seed).integers(-1024, 3071, shape).astype(np.int16)


@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP", "FFP"])
@pytest.mark.parametrize("pixels", ["unsigned 12", "signed 16", "unsigned 16"])
def test_itk_reads_back_hu_and_geometry_of_every_position(tmp_path, position, pixels):
    scan = replace(
        draw_acquisition(np.random.default_rng(0), "internal"),
        position=position,
        oblique_deg=5.5,
        shape=(7, 5, 4),
    )
    grid, hu = scan_grid(scan), volume()
    write_series(
        tmp_path,
        hu=hu,
        affine=grid.scanner_affine,
        header=replace(HEADER, position=position, pixels=pixels),
    )
    assert_same_image(hu, grid.scanner_affine, *read(tmp_path))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    flip=st.sampled_from([-1, 1]),
    step=st.tuples(*[st.floats(0.3, 5)] * 3),
    start=st.tuples(*[st.floats(-900, 900)] * 3),
)
def test_any_grid_with_right_angles_survives(tmp_path_factory, turn, flip, step, start):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(turn).as_matrix() * np.array(step) * (1, 1, flip)
    affine[:3, 3] = start
    folder, hu = tmp_path_factory.mktemp("series"), volume()
    write_series(folder, hu=hu, affine=affine, header=HEADER)
    assert_same_image(hu, affine, *read(folder))


def test_file_names_do_not_follow_space_and_every_file_has_its_own_number(tmp_path):
    hu = volume((4, 4, 30))
    affine = np.diag([1.0, 1.0, 2.5, 1.0])
    write_series(tmp_path, hu=hu, affine=affine, header=HEADER)
    sets = [pydicom.dcmread(file) for file in sorted(tmp_path.iterdir())]
    heights = [float(data.ImagePositionPatient[2]) for data in sets]
    assert heights != sorted(heights)
    assert sorted(heights) == [2.5 * k for k in range(30)]
    assert [
        data.InstanceNumber for data in sorted(sets, key=lambda data: data.ImagePositionPatient[2])
    ] == list(range(1, 31))
    assert len({data.SOPInstanceUID for data in sets}) == 30
    assert all(data.SOPInstanceUID == data.file_meta.MediaStorageSOPInstanceUID for data in sets)
    assert all(len(data.SOPInstanceUID) <= 64 for data in sets)
    assert len({data.SeriesInstanceUID for data in sets}) == 1
    for data in sets:
        k = int(data.InstanceNumber) - 1
        assert np.array_equal(
            data.pixel_array.T * data.RescaleSlope + data.RescaleIntercept, hu[:, :, k]
        )


def test_the_patient_is_plainly_a_phantom(tmp_path):
    write_series(tmp_path, hu=volume(), affine=np.eye(4), header=HEADER)
    data = pydicom.dcmread(next(tmp_path.iterdir()))
    assert str(data.PatientName).startswith("PHANTOM^")
    assert data.PatientID.startswith("PHANTOM-")
    assert data.PatientBirthDate == ""


def test_padding_fills_the_corners_and_nothing_else(tmp_path):
    hu = np.zeros((20, 16, 2), dtype=np.int16)
    write_series(tmp_path, hu=hu, affine=np.eye(4), header=replace(HEADER, padding=True))
    data = pydicom.dcmread(next(tmp_path.iterdir()))
    assert data.PixelPaddingValue == -2000
    assert data.pixel_array[0, 0] == data.pixel_array[-1, -1] == -2000
    assert data.pixel_array[8, 10] == data.pixel_array[0, 10] == 0


def test_the_localizer_is_a_series_of_its_own(tmp_path):
    hu = volume((12, 9, 6))
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    write_series(tmp_path, hu=hu, affine=affine, header=HEADER, localizer=True)
    sets = [pydicom.dcmread(file) for file in tmp_path.iterdir()]
    scouts = [data for data in sets if "LOCALIZER" in data.ImageType]
    assert len(sets) == 7
    assert len(scouts) == 1
    others = {data.SeriesInstanceUID for data in sets if data is not scouts[0]}
    assert len(others) == 1
    assert scouts[0].SeriesInstanceUID not in others
    assert {data.StudyInstanceUID for data in sets} == {scouts[0].StudyInstanceUID}
    normal = np.cross(scouts[0].ImageOrientationPatient[:3], scouts[0].ImageOrientationPatient[3:])
    assert abs(normal[1]) == pytest.approx(1)
    assert_same_image(hu, affine, *read(tmp_path, others.pop()))


def test_equal_seeds_write_equal_bytes_and_other_seeds_other_identifiers(tmp_path):
    for name, header in (("a", HEADER), ("b", HEADER), ("c", replace(HEADER, seed=12))):
        write_series(tmp_path / name, hu=volume(), affine=np.eye(4), header=header)
    content = {
        name: {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in "abc"
    }
    assert content["a"] == content["b"]
    assert (
        pydicom.dcmread(tmp_path / "a/IM0001.dcm").StudyInstanceUID
        != pydicom.dcmread(tmp_path / "c/IM0001.dcm").StudyInstanceUID
    )


def test_a_sheared_grid_is_refused(tmp_path):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(PhantomError, match="right angles"):
        write_series(tmp_path / "series", hu=volume(), affine=affine, header=HEADER)
    assert not (tmp_path / "series").exists()


@given(st.lists(st.one_of(st.integers(), st.text(max_size=9)), max_size=4))
def test_identifiers_are_valid(parts):
    assert pydicom.uid.UID(make_uid(*parts)).is_valid
