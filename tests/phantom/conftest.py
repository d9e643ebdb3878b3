import numpy as np
import pytest

from ctbone.phantom.anatomy import Anatomy, render_anatomy
from ctbone.phantom.patient import Patient, draw_patient


@pytest.fixture(scope="session")
def patient() -> Patient:
    return draw_patient(np.random.default_rng(3), age=35, sex="male")


@pytest.fixture(scope="session")
def affine() -> np.ndarray:
    matrix = np.diag([1.5, 1.5, 2.0, 1.0])
    matrix[:3, 3] = (-100, -80, -70)
    return matrix


@pytest.fixture(scope="session")
def anatomy(patient: Patient, affine: np.ndarray) -> Anatomy:
    return render_anatomy(patient, affine, (134, 110, 66))
