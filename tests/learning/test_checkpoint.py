import threading

import pytest
import torch

from ctbone.errors import StudyError, TrainingError
from ctbone.learning import checkpoint
from ctbone.learning.checkpoint import (
    CheckpointWriter,
    TrainingState,
    load_checkpoint,
    save_checkpoint,
)
from ctbone.learning.epoch_choice import EpochMetrics, choose_epoch
from tests.models.test_pretrained import Bomb

IDENTITY = {"network": "densenet", "training": {"epochs": 3}, "folds": "abc"}


def row(epoch, score=0.75, loss=0.6):
    return EpochMetrics(
        epoch=epoch,
        loss=0.5,
        score=score,
        validation_loss=loss,
        learning_rate=1e-4,
        seconds=1.0,
    )


def state():
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return TrainingState(
        network=network.state_dict(),
        optimizer=optimizer.state_dict(),
        ema={name: value + 1 for name, value in network.state_dict().items()},
        best=network.state_dict(),
        history=[row(1)],
    )


def test_a_saved_checkpoint_is_read_back(tmp_path):
    ours = state()
    save_checkpoint(tmp_path / "c.pt", ours, IDENTITY)
    read = load_checkpoint(tmp_path / "c.pt", IDENTITY)
    assert torch.equal(read.network["weight"], ours.network["weight"])
    assert torch.equal(read.optimizer["state"][0]["exp_avg"], ours.optimizer["state"][0]["exp_avg"])
    assert read.history == ours.history
    for part in ("ema", "best"):
        assert torch.equal(getattr(read, part)["weight"], getattr(ours, part)["weight"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best-epoch1.safetensors", "c.pt"]


def test_a_checkpoint_is_unaffected_by_the_next_epoch(tmp_path, monkeypatch):
    ours, may_write = state(), threading.Event()
    before = {name: value.clone() for name, value in ours.network.items()}

    def slow(*args):
        assert may_write.wait(30)
        save_checkpoint(*args)

    monkeypatch.setattr(checkpoint, "save_checkpoint", slow)
    with CheckpointWriter(tmp_path / "c.pt", IDENTITY) as writer:
        writer.save(ours, last=True)
        for value in ours.network.values():
            value += 1  # the next epoch
        for moments in ours.optimizer["state"].values():
            moments["exp_avg"] += 1
        ours.history.append(row(2, score=0.5))
        assert not (tmp_path / "c.pt").exists()
        may_write.set()
    read = load_checkpoint(tmp_path / "c.pt", IDENTITY)
    assert len(read.history) == 1
    assert torch.equal(read.network["weight"], before["weight"])
    assert torch.equal(
        read.optimizer["state"][0]["exp_avg"] + 1, ours.optimizer["state"][0]["exp_avg"]
    )


def test_the_best_weights_are_written_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        checkpoint, "save_weights", lambda path, best: written.append(path.name) or "digest"
    )
    ours = state()
    with CheckpointWriter(tmp_path / "c.pt", IDENTITY) as writer:
        for epoch, score in ((2, 0.7), (3, 0.8), (4, 0.75)):
            writer.save(ours, last=True)
            ours.history.append(row(epoch, score=score))
            if ours.best_epoch.epoch == epoch:
                ours.best_sha256 = None
        writer.save(ours, last=True)
    assert written == ["best-epoch1.safetensors", "best-epoch3.safetensors"]


def test_a_failed_write_is_raised_by_the_next_save_or_at_the_end(tmp_path, monkeypatch):
    def full(*args):
        raise StudyError("cannot write: No space left on device")

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    with (
        pytest.raises(StudyError, match="No space"),
        CheckpointWriter(tmp_path / "c.pt", {}) as last,
    ):
        last.save(state(), last=True)
    with CheckpointWriter(tmp_path / "c.pt", {}) as first:
        first.save(state(), last=True)
        with pytest.raises(StudyError, match="No space"):
            first.save(state(), last=True)


def test_a_missing_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "c.pt", IDENTITY) is None


@pytest.mark.parametrize(
    "change", [{"training": {"epochs": 4}}, {"folds": "abd"}, {"network": "densenet121"}]
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change):
    save_checkpoint(tmp_path / "c.pt", state(), IDENTITY)
    with pytest.raises(TrainingError, match=f"trained with other {next(iter(change))}"):
        load_checkpoint(tmp_path / "c.pt", {**IDENTITY, **change})


@pytest.mark.parametrize("left", [0, 10, 500, -1])
def test_a_truncated_checkpoint_is_an_error(tmp_path, left):
    file = tmp_path / "c.pt"
    save_checkpoint(file, state(), IDENTITY)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(TrainingError, match="damaged") as caught:
        load_checkpoint(file, IDENTITY)
    assert "delete" in caught.value.remedy


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save(
        {"format": 3, "identity": IDENTITY, "network": Bomb(tmp_path / "ran")}, tmp_path / "c.pt"
    )
    with pytest.raises(TrainingError, match="was not run"):
        load_checkpoint(tmp_path / "c.pt", IDENTITY)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"format": 3}, {"format": 9}, {"format": 3, "identity": IDENTITY, "history": 3}],
)
def test_a_checkpoint_without_a_part_is_an_error(tmp_path, content):
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(TrainingError):
        load_checkpoint(tmp_path / "c.pt", IDENTITY)


def test_the_epoch_kept_has_the_highest_score_then_the_lowest_loss_then_is_the_first():
    rows = [(1, 0.7, 0.2), (2, 0.9, 0.6), (3, 0.9, 0.5), (4, 0.9, 0.5), (5, 0.8, 0.1)]
    history = [row(epoch, score=score, loss=loss) for epoch, score, loss in rows]
    assert choose_epoch(history).kept.epoch == 3
    assert TrainingState(history=history).best_epoch.epoch == 3


@pytest.mark.parametrize(
    ("early_stopping", "stop"), [(None, False), (1, True), (2, True), (3, False)]
)
def test_training_stops_so_many_epochs_after_the_best(early_stopping, stop):
    history = [row(1, score=0.5), row(2, score=0.9), row(3, score=0.8), row(4, score=0.9)]
    assert choose_epoch(history, early_stopping).stop == stop


def test_checkpoints_are_written_by_time_and_at_the_end(tmp_path, monkeypatch):
    written, clock = [], [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        checkpoint,
        "save_checkpoint",
        lambda path, state, identity: written.append(state.history[-1].epoch),
    )
    with CheckpointWriter(tmp_path / "c.pt", {}) as writer:
        for epoch in range(1, 101):
            clock[0] += 0.8  # seconds of an epoch
            writer.save(TrainingState(history=[row(epoch)]), last=epoch == 100)
    assert written == [38, 76, 100]  # after 30.4 s, 60.8 s and 80 s
