import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctbone.config import BONE, SOFT_TISSUE, WIDE, Window
from ctbone.models.network_input import network_input


def test_known_values_of_the_paper_s_windows():
    hu = torch.tensor([[-1024, -500, -160, 40, 240, 400, 1300, 3000]], dtype=torch.int16)
    bone, soft, wide = network_input(hu, [BONE, SOFT_TISSUE, WIDE])[0].tolist()
    assert np.allclose(bone, [0, 0, 340 / 1800, 540 / 1800, 740 / 1800, 0.5, 1, 1])
    assert np.allclose(soft, [0, 0, 0, 0.5, 1, 1, 1, 1])
    assert np.allclose(wide, [0, 0.25, 0.42, 0.52, 0.62, 0.7, 1, 1])


@given(st.integers(-32768, 32767), st.floats(-3000, 3000), st.floats(1, 6000))
def test_equals_numpy_s_interpolation(value, center, width):
    hu = torch.full((1, 1), value, dtype=torch.int16)
    found = network_input(hu, [Window(center=center, width=width)]).item()
    expected = np.interp(value, [center - width / 2, center + width / 2], [0, 1])
    assert abs(found - expected) < 2e-3 / width + 1e-6


def test_shape_and_layout():
    seen = network_input(torch.zeros((2, 5, 6, 7), dtype=torch.int16), [BONE, WIDE])
    assert seen.shape == (2, 2, 5, 6, 7)
    assert seen.dtype == torch.float32
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_crop_itself_is_not_changed():
    hu = torch.tensor([[100.0, 200.0]])
    network_input(hu, [WIDE])
    assert hu.tolist() == [[100.0, 200.0]]
