"""Identities against slow and obvious implementations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.cohort import Case, Cohort
from ctbone.same_scans import file_keys, near_scans, shared_scans
from ctbone.scan_identity import (
    ScanIdentity,
    identify,
    identity_of_record,
    study_salt,
    uid_keys,
)

NONE = uid_keys([], b"")


def volume(seed: int = 0, shape=(20, 18, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def equal(a: ScanIdentity, b: ScanIdentity) -> bool:
    return a.to_record() == b.to_record()


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    spacing=st.tuples(*[st.floats(0.5, 5)] * 3),
)
def test_the_order_of_storage_changes_nothing(order, flips, spacing):
    hu, affine = volume(), np.diag([*spacing, 1.0])
    other, matrix = hu.transpose(order), affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            matrix[:3, 3] += matrix[:3, axis] * (other.shape[axis] - 1)
            matrix[:3, axis] *= -1
            other = np.flip(other, axis)
    assert equal(identify(other, matrix, NONE), identify(hu, affine, NONE))


@pytest.mark.parametrize("place", [(0, 0, 0), (19, 17, 29), (7, 8, 9)])
def test_one_voxel_makes_another_volume_and_one_other_slice(place):
    hu, changed = volume(), volume()
    changed[place] += 1
    before, after = (identify(one, np.eye(4), NONE) for one in (hu, changed))
    assert before.voxels != after.voxels
    assert len(np.intersect1d(before.slices, after.slices)) == 29


def test_slices_of_one_value_identify_nothing():
    hu = volume()
    hu[:, :, :4] = -1024
    assert len(identify(hu, np.eye(4), NONE).slices) == 26


def test_floats_are_digested_as_whole_hu():
    hu = volume()
    floats, whole = (identify(one, np.eye(4), NONE) for one in (hu + np.float32(0.3), hu))
    assert floats.voxels == whole.voxels
    assert np.array_equal(floats.slices, whole.slices)


@pytest.mark.parametrize(("slices", "spacing"), [(80, 2.0), (320, 0.5), (12, 5.0)])
def test_the_fingerprint_holds_block_means(slices, spacing):
    """Against means of voxels cut into whole blocks: here each block is a whole number of them."""
    hu = volume(shape=(32, 48, slices))
    found = identify(hu, np.diag([1, 1, spacing, 1]), NONE).fingerprint
    assert found is not None
    height = min(80.0, slices * spacing) / 8
    fine = np.repeat(hu, 8, axis=2)  # 8 samples of each slice along z
    per_cell = round(height / (spacing / 8))
    for slab, ordered in enumerate((fine[:, :, ::-1], fine)):
        slab_hu = ordered[:, :, : 8 * per_cell].astype(float)
        means = slab_hu.reshape(16, 2, 16, 3, 8, per_cell).mean(axis=(1, 3, 5))
        np.testing.assert_allclose(found[slab], means.transpose(2, 0, 1), atol=0.51)


def test_the_record_gives_the_identity_back():
    one = identify(volume(), np.eye(4), uid_keys(["1.2", "1.3"], b"salt"))
    back = identity_of_record({"identity": one.to_record()})
    assert back is not None
    assert equal(one, back)
    assert identity_of_record({}) is None
    assert identity_of_record({"identity": {**one.to_record(), "slices": "%"}}) is None
    assert identity_of_record({"identity": {**one.to_record(), "fingerprint": "AAAA"}}) is None


def test_the_salt_is_random_and_kept(study):
    first = study_salt(study)
    assert study_salt(study) == first
    study.salt_file.unlink()
    assert study_salt(study) != first
    assert len(first) == 32


def case_of(number: int, patient: int, *, internal: bool) -> Case:
    cohort = "internal" if internal else "centre2"
    return Case(f"C{number:02d}", f"P{patient}", "benign", cohort, Path(f"{number}.nii"), None)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.lists(st.integers(0, 12), max_size=4)),
        max_size=9,
    )
)
def test_every_forbidden_group_is_found_and_no_other(table):
    """A case is named exactly if it shares a slice with the first case that has it, forbidden."""
    cases = [case_of(n, patient, internal=side) for n, (patient, side, _) in enumerate(table)]
    keys = [row[2] for row in table]
    identities = {
        case.case_id: ScanIdentity(slices=np.array(some, np.uint64))
        for case, some in zip(cases, keys, strict=True)
    }
    expected = set()
    for key in range(13):
        having = [case for case, some in zip(cases, keys, strict=True) if key in some]
        for case in having[1:]:
            first = having[0]
            if (case.patient_id, case.cohort) != (first.patient_id, first.cohort):
                expected.add((first.case_id, case.case_id))
    found = shared_scans(Cohort(tuple(cases)), identities)
    assert {(str(error.found)[:3], error.case) for error in found} == expected
    assert len(found) == len(expected)


def test_near_scans_are_those_of_numpys_correlation():
    random = np.random.default_rng(3)
    base = random.normal(0, 300, (2, 8, 16, 16))
    noise = [0, 4, 9, 12, 16, 30, 300]
    prints = [np.rint(base + random.normal(0, sd, base.shape)).astype(np.int16) for sd in noise]
    cases = [case_of(number, number, internal=True) for number in range(len(noise))]
    identities = {
        case.case_id: ScanIdentity(fingerprint=one) for case, one in zip(cases, prints, strict=True)
    }
    found = {pair.second.case_id: pair for pair in near_scans(Cohort(tuple(cases)), identities)}
    for row in range(1, len(cases)):
        with_earlier = [
            max(np.corrcoef(prints[row][s].ravel(), prints[k][s].ravel())[0, 1] for s in (0, 1))
            for k in range(row)
        ]
        pair = found.get(cases[row].case_id)
        assert (pair is not None) == (max(with_earlier) > 0.999)
        if pair is not None:
            assert pair.correlation == pytest.approx(max(with_earlier), abs=1e-5)
            assert pair.first == cases[int(np.argmax(with_earlier))]
    assert 0 < len(found) < len(cases) - 1
    everyone = [replace(case, patient_id="P0") for case in cases]
    assert near_scans(Cohort(tuple(everyone)), identities) == []


def test_constant_volumes_are_not_near():
    flat = identify(np.zeros((20, 20, 20), np.int16), np.eye(4), NONE)
    cases = [case_of(number, number, internal=True) for number in range(2)]
    assert near_scans(Cohort(tuple(cases)), {case.case_id: flat for case in cases}) == []


def test_identical_files_are_found_by_their_bytes(tmp_path):
    content = np.random.default_rng(0).bytes(400_000)
    changed = bytearray(content)
    changed[100_000] ^= 1  # not in the samples
    files = {"a": content, "b": content, "c": bytes(changed), "d": content[:-1]}
    cases = []
    for number, (name, some) in enumerate(files.items()):
        (tmp_path / name).write_bytes(some)
        cases.append(replace(case_of(number, number, internal=True), image=tmp_path / name))
    cases.append(replace(case_of(4, 4, internal=True), image=tmp_path / "missing"))
    found = file_keys(cases)
    assert set(found) == {"C00", "C01"}
    assert found["C00"] == found["C01"]
    one_patient = [replace(case, patient_id="P") for case in cases]
    assert file_keys(one_patient) == {}


def test_mirrored_anatomy_is_another_scan():
    hu = volume()
    assert identify(hu[::-1], np.eye(4), NONE).voxels != identify(hu, np.eye(4), NONE).voxels
