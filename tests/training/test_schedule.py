import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctbone.config import TrainingSettings
from ctbone.training.schedule import learning_rate


def rates(training, steps):
    epochs = range(1, training.epochs + 1)
    return [
        learning_rate(training, epoch, step, steps) for epoch in epochs for step in range(steps)
    ]


def test_the_paper_s_rate_never_changes():
    assert set(rates(TrainingSettings(), steps=17)) == {1e-4}


def test_the_cosine_is_pytorch_s():
    training = TrainingSettings(epochs=5, learning_rate=0.3, schedule="cosine")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for ours in rates(training, steps=4):
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        optimizer.step()
        schedule.step()


@given(
    st.integers(1, 20),
    st.integers(1, 9),
    st.integers(1, 30),
    st.sampled_from(["constant", "cosine"]),
)
def test_it_rises_to_the_full_rate_then_never_above(warmup, more, steps, schedule):
    training = TrainingSettings(
        epochs=warmup + more, learning_rate=0.5, warmup_epochs=warmup, schedule=schedule
    )
    all_rates = rates(training, steps)
    rising = all_rates[: warmup * steps]
    assert rising[-1] == 0.5
    assert all(
        math.isclose(b - a, 0.5 / len(rising), rel_tol=1e-6) for a, b in itertools.pairwise(rising)
    )
    falling = all_rates[warmup * steps :]
    assert falling[0] == 0.5
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] > 0
