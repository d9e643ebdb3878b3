import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ctbone.config import TrainingSettings
from ctbone.learning.checkpoint import TrainingState, load_checkpoint
from ctbone.learning.loop import (
    EMA,
    TrainingRun,
    learning_rate,
    make_learner,
    restore,
    run_epochs,
)
from ctbone.learning.ranks import Ranks
from ctbone.models.hardware import Hardware


def rates(training, steps):
    epochs = range(1, training.epochs + 1)
    return [
        learning_rate(training, epoch=epoch, step=step, steps=steps)
        for epoch in epochs
        for step in range(steps)
    ]


def test_the_default_rate_is_constant():
    assert set(rates(TrainingSettings(), steps=17)) == {1e-4}


def test_the_cosine_equals_that_of_pytorch():
    training = TrainingSettings(epochs=5, learning_rate=0.3, schedule="cosine")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for ours in rates(training, steps=4):
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        optimizer.step()
        schedule.step()


@given(
    warmup=st.integers(1, 20),
    more=st.integers(1, 9),
    steps=st.integers(1, 30),
    schedule=st.sampled_from(["constant", "cosine"]),
)
def test_the_rate_rises_to_the_full_rate_and_never_above(warmup, more, steps, schedule):
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


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_step_moves_no_weight_before_its_learning_rate_is_set(optimizer):
    settings = TrainingSettings(optimizer=optimizer, learning_rate=0.1, weight_decay=0.1, ema=0.9)
    hardware = Hardware(torch.device("cpu"), bf16=False)
    learner = make_learner(nn.Linear(2, 1), settings, hardware=hardware, ranks=Ranks())
    before = learner.network.weight.detach().clone()
    learner.network(torch.ones(4, 2)).sum().backward()
    learner.end_step(1)
    assert torch.equal(learner.network.weight, before)
    learner.begin_step(0.01)
    assert learner.learning_rate == 0.01
    learner.network(torch.ones(4, 2)).sum().backward()
    learner.end_step(2)
    assert not torch.equal(learner.network.weight, before)
    assert learner.judged is learner.ema.network


def test_the_ema_averages_weights_and_buffers():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ema = EMA(network, decay=0.6)
    names = [name for name, value in network.state_dict().items() if value.is_floating_point()]
    expected = {name: network.state_dict()[name].double() for name in names}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for step in range(1, 30):
        network(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(network, step)
        decay = min(0.6, (1 + step) / (10 + step))
        for name in names:
            expected[name] = (
                decay * expected[name] + (1 - decay) * network.state_dict()[name].double()
            )
    found = ema.network.state_dict()
    for name in names:
        torch.testing.assert_close(found[name].double(), expected[name], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found[name], network.state_dict()[name])
    assert found["1.num_batches_tracked"] == 29


def test_the_ema_does_not_change_the_network():
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    ema = EMA(network, decay=0.9)
    network.weight.data += 1
    ema.update(network, 1)
    assert torch.equal(network.weight, before + 1)
    assert network.weight.requires_grad
    assert not ema.network.weight.requires_grad


class Killed(BaseException):
    pass


def train_line(folder, *, epochs=5, killed_in=None, **settings):
    """Fit a line by ``learning`` alone, without study, folds and classes; the score is -loss."""
    training = TrainingSettings(
        epochs=epochs, learning_rate=0.1, schedule="cosine", warmup_epochs=1, ema=0.9, **settings
    )
    ranks = Ranks()
    run = TrainingRun(
        name="line",
        settings=training,
        checkpoint=folder / "checkpoint.pt",
        identity={"settings": training.model_dump(mode="json")},
        score_title="negative loss",
        ranks=ranks,
        log="none",
        experiment="test",
        parameters={},
    )
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    hardware = Hardware(torch.device("cpu"), bf16=False)
    learner = make_learner(nn.Linear(1, 1), training, hardware=hardware, ranks=ranks)
    state = load_checkpoint(run.checkpoint, run.identity)
    if state is None:
        state = TrainingState()
    else:
        restore(learner, state, run.checkpoint)
    x = torch.linspace(-1, 1, 16)[:, None]

    def loss_of(network):
        return (network(x) - (3 * x + 1)).square().mean()

    def train_epoch(epoch):
        if epoch == killed_in:
            raise Killed
        learner.begin_step(learning_rate(training, epoch=epoch, step=0, steps=1))
        loss = loss_of(learner.wrapped)
        loss.backward()
        learner.end_step(epoch)
        return float(loss.detach())

    def validate(network):
        with torch.no_grad():
            loss = float(loss_of(network))
        return -loss, loss

    run_epochs(run, learner, state, train_epoch=train_epoch, validate=validate)
    return state


def test_a_training_that_is_no_classification_runs_and_resumes_identically(tmp_path, capsys):
    whole = train_line(tmp_path / "whole")
    assert "negative loss" in capsys.readouterr().err
    with pytest.raises(Killed):
        train_line(tmp_path / "killed", killed_in=3)
    resumed = train_line(tmp_path / "killed")
    assert [row.score for row in resumed.history] == [row.score for row in whole.history]
    assert whole.history[-1].score > whole.history[0].score
    for name in whole.best:
        assert torch.equal(resumed.best[name], whole.best[name])
        assert torch.equal(resumed.network[name], whole.network[name])
    table = (tmp_path / "killed" / "metrics.csv").read_text().splitlines()
    assert table[0] == "epoch,loss,score,validation_loss,learning_rate,seconds"
    assert len(table) == 6
