"""Synthetic radiographs: physics of the projection, and the anatomy of a few patients."""

import numpy as np
import pytest

from ctbone.errors import PhantomError
from ctbone.phantom.projection import (
    BONE_GAIN,
    WATER_PER_MM,
    Exposure,
    expose,
    line_integrals,
)
from ctbone.phantom.radiograph_cohort import (
    RadiographCohort,
    draw_clinical,
    draw_patients,
    write_radiographs,
)


def test_the_line_integral_of_a_block_is_its_attenuation_times_its_depth():
    hu = np.full((6, 10, 4), -1000.0)
    hu[2, 3:7, 1] = 0
    hu[4, 3:5, 2] = 500
    shadow = line_integrals(hu, 2.0, "frontal")
    assert shadow.shape == (4, 6)
    assert shadow[4 - 1 - 1, 6 - 1 - 2] == pytest.approx(WATER_PER_MM * 8)
    assert shadow[4 - 1 - 2, 6 - 1 - 4] == pytest.approx(WATER_PER_MM * 4 * (1 + BONE_GAIN / 2))
    assert np.count_nonzero(shadow) == 2
    assert line_integrals(hu, 2.0, "lateral").shape == (4, 10)


def test_noise_is_that_of_the_photons():
    exposure = Exposure(photons=500, scatter=0, blur_mm=1e-6, collimated=(0, 0, 0, 0), marker="")
    grey = expose(np.full((400, 400), 1.0), 1.0, exposure, np.random.default_rng(0))
    # depth = −log(n / n0) has standard deviation 1/√n, on a scale of 3.4.
    assert grey.std() == pytest.approx(1 / np.sqrt(500 * np.exp(-1)) / 3.4, rel=0.05)


def test_thicker_is_brighter_and_the_collimated_border_is_white():
    integrals = np.tile(np.linspace(1, 5, 200), (150, 1))
    exposure = Exposure(collimated=(0.1, 0, 0.1, 0), marker="")
    grey = expose(integrals, 1.0, exposure, np.random.default_rng(0))
    assert (grey[:, :20] == 1).all()
    assert (grey[:15] == 1).all()
    means = grey[20:, 25:].mean(axis=0)
    assert means[150] > means[50] > means[5]


def test_scatter_lowers_the_contrast():
    integrals = np.full((80, 80), 3.0)
    integrals[30:50, 30:50] += 0.5
    contrasts = []
    for scatter in (0.0, 0.5):
        exposure = Exposure(photons=1e6, scatter=scatter, collimated=(0,) * 4, marker="")
        grey = expose(integrals, 1.0, exposure, np.random.default_rng(0))
        contrasts.append(grey[35:45, 35:45].mean() - grey[5:15, 5:15].mean())
    assert 0 < contrasts[1] < 0.9 * contrasts[0]


def test_files_are_equal_for_equal_settings_and_all_formats_occur(tmp_path):
    settings = RadiographCohort(internal=5, external={}, spacing_mm=6.0)
    for folder in ("a", "b"):
        write_radiographs(tmp_path / folder, settings)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert {path.suffix for path in files} == {".dcm", ".png", ".jpg", ".json", ".csv"}
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_clinical_values_carry_the_signal_that_is_asked_for(tmp_path):
    for signal, low, high in ((0.0, -0.15, 0.15), (1.0, 0.8, 1.2)):
        settings = RadiographCohort(
            internal=600, external={}, classes={"a": "benign", "b": "malignant"}, signal=signal
        )
        patients = draw_patients(settings)
        cells = draw_clinical(settings, patients)
        logs = {
            name: [
                np.log(float(cells[one.case.patient_id]["crp"]))
                for one in patients
                if one.truth == name and cells[one.case.patient_id]["crp"]
            ]
            for name in "ab"
        }
        distance = (np.mean(logs["b"]) - np.mean(logs["a"])) / 0.6
        assert low < distance < high
        empty = np.mean([cells[one.case.patient_id]["crp"] == "" for one in patients])
        assert empty == pytest.approx(settings.missing, abs=0.05)


def test_a_cohort_needs_two_classes_and_a_lesion():
    for classes in ({"normal": None}, {"a": None, "b": None}):
        with pytest.raises(PhantomError, match="two classes"):
            RadiographCohort(classes=classes)
