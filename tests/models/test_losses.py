import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.models import ModelError
from ctbone.models.losses import Loss


def by_hand(logits, shares, weights, smoothing, gamma):
    """The formula of the docstring, sample by sample and class by class."""
    total, mass = 0.0, 0.0
    for row, share in zip(logits, shares, strict=True):
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        for c in range(len(row)):
            q = (1 - smoothing) * share[c] + smoothing / len(row)
            total -= q * weights[c] * (1 - p[c]) ** gamma * np.log(p[c])
            mass += share[c] * weights[c]
    return total / mass


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 5),
    st.integers(1, 6),
    st.floats(0, 0.9),
    st.floats(0, 5),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_every_loss_is_its_formula(seed, classes, samples, smoothing, gamma, mixed):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (samples, classes))
    weights = random.uniform(0.2, 3, classes)
    numbers = random.integers(0, classes, samples)
    shares = random.dirichlet(np.ones(classes), samples) if mixed else np.eye(classes)[numbers]
    targets = torch.from_numpy(shares) if mixed else torch.from_numpy(numbers)
    for name in ("cross_entropy", "focal"):
        loss = Loss(name, torch.from_numpy(weights), smoothing, gamma)
        expected = by_hand(logits, shares, weights, smoothing, gamma if name == "focal" else 0)
        assert loss(torch.from_numpy(logits), targets).item() == pytest.approx(expected, rel=1e-9)


def test_cross_entropy_alone_is_pytorch_s_to_the_bit():
    logits, targets = torch.randn(20, 3), torch.randint(3, (20,))
    assert torch.equal(
        Loss("cross_entropy")(logits, targets), torch.nn.functional.cross_entropy(logits, targets)
    )


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 3.0])])
def test_the_parts_of_a_batch_add_up_by_their_mass(name, weights):
    loss = Loss(name, weights, smoothing=0.1)
    logits, targets = torch.randn(7, 2), torch.tensor([0, 1, 1, 0, 0, 0, 1])
    parts = [slice(0, 3), slice(3, 7)]
    put_together = sum(
        loss(logits[p], targets[p]) * loss.mass(targets[p]) for p in parts
    ) / loss.mass(targets)
    assert put_together.item() == pytest.approx(loss(logits, targets).item(), rel=1e-6)


def test_an_unknown_loss_is_answered_with_the_nearest():
    with pytest.raises(ModelError, match="no loss of this name") as caught:
        Loss("cross_entropi")
    assert caught.value.remedy == "did you mean 'cross_entropy'?"
