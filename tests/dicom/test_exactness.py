"""Every syntax, sign and number of bits as dcm2niix converts it: equal voxels and affines.

Where its volume differs, the explanation is a known one of the table in docs/dicom.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pydicom.uid as uids
import pytest

from ctbone.cohort import Case
from ctbone.second_opinion import case as second_opinion
from ctbone.second_opinion import opinions_of
from ctbone.second_opinion.converters import installed

from .test_codecs import CODECS, SIZE, cases, values_of, write_streams
from .writer import Plan, write_series

DCM2NIIX = [one for one in installed() if one.name == "dcm2niix"]
pytestmark = pytest.mark.skipif(not DCM2NIIX, reason="needs dcm2niix")
PLAIN = {
    "implicit": uids.ImplicitVRLittleEndian,
    "explicit": uids.ExplicitVRLittleEndian,
    "big endian": uids.ExplicitVRBigEndian,
    "deflated": uids.DeflatedExplicitVRLittleEndian,
}
OPTIONAL = ("JPEG-LS", "HTJ2K", "deflated")
"""Syntaxes that dcm2niix, or some builds of it, cannot read."""


@pytest.fixture
def opinion(study, monkeypatch):
    """Return dcm2niix's opinion on the series of a folder."""
    monkeypatch.setattr(second_opinion, "installed", lambda: DCM2NIIX)

    def of(folder):
        (found,) = opinions_of(study, Case("C001", "P001", "", "", folder, None, ()))
        return found

    return of


def judge(found, name: str, bits: int, *, signed: bool, wraps: bool) -> bool:
    """Refuse what no known convention explains; return whether the volumes agree."""
    at = f"{name}, {bits} bits, signed: {signed}: {found}"
    if found.result == "no volume":
        assert name in OPTIONAL, at
        assert "it is stored as" in found.explanation, at
        return False
    assert found.affine_mm is not None, at
    assert found.affine_mm < 1e-4, at
    if found.result == "agrees":
        return True
    if "did not extend their sign" in found.explanation:
        assert signed, at
        assert bits < 16, at
        assert f"{2**bits} HU higher" in found.explanation, at
    else:
        assert wraps, at
    return False


@pytest.mark.parametrize(("codec", "way"), list(cases()))
def test_compressed_voxels_are_those_of_dcm2niix(tmp_path, opinion, codec, way):
    syntax, encode = CODECS[codec]
    agreed = set()
    for bits, signed in [(bits, signed) for bits in (12, 13, 16) for signed in (False, True)]:
        if way == "signed samples" and not signed:
            continue
        values = values_of(bits, signed)
        words = values.astype(np.int16) if way == "signed samples" else values & 0xFFFF
        if way == "low bits":
            words = values & (2**bits - 1)
        if way != "signed samples":
            words = words.astype(np.uint16)
        narrow = way == "low bits" or (codec == "JPEG 2000" and way == "signed samples")
        wide = bits if narrow else 16
        folder = tmp_path / f"{bits}{signed}"
        write_streams(
            folder, values, bits=bits, signed=signed, syntax=syntax,
            encode=lambda frame, wide=wide: encode(frame, wide), words=words,
        )  # fmt: skip
        # steps of half the range and more, which lossless JPEG codes modulo 2^16
        steps = np.abs(np.diff(words.astype(int).reshape(SIZE[0], -1), axis=1))
        wraps = codec == "JPEG lossless" and wide == 16 and steps.max() >= 2**15
        if judge(opinion(folder), codec, bits, signed=signed, wraps=wraps):
            agreed.add((bits, signed))
    if codec not in OPTIONAL and way != "signed samples":
        assert {(12, False), (13, False)} <= agreed


@pytest.mark.parametrize("name", PLAIN)
def test_uncompressed_voxels_are_those_of_dcm2niix(tmp_path, opinion, name):
    agreed = set()
    for bits, signed in [(bits, signed) for bits in (12, 16) for signed in (False, True)]:
        kind = np.int16 if signed else np.uint16
        plan = Plan(values_of(bits, signed).astype(kind), bits=bits, intercept=-1000.0)
        write_series(tmp_path / f"{bits}{signed}", replace(plan, syntax=PLAIN[name]))
        found = opinion(tmp_path / f"{bits}{signed}")
        if judge(found, name, bits, signed=signed, wraps=False):
            agreed.add((bits, signed))
    assert {(12, False), (16, False), (16, True)} <= agreed or name in OPTIONAL


@pytest.mark.parametrize("bits", [12, 13])
def test_a_sign_that_is_not_extended_is_explained(tmp_path, opinion, bits):
    values = values_of(bits, signed=True)
    plan = Plan(np.zeros(SIZE, np.int16), bits=bits, intercept=-1000.0)
    for path, plane in zip(write_series(tmp_path / "in", plan), values, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = (plane & (2**bits - 1)).astype(np.uint16).tobytes()
        dataset.save_as(path)
    judge(opinion(tmp_path / "in"), "explicit", bits, signed=True, wraps=False)
