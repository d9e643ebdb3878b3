import threading

import pytest
import torch

from ctbone.errors import StudyError, TrainingError
from ctbone.training import checkpoint, checkpoint_writer
from ctbone.training.checkpoint import EpochMetrics, FoldState, load_checkpoint, save_checkpoint
from tests.models.test_pretrained import Bomb

IDENTITY = {"network": "densenet", "training": {"epochs": 3}, "folds": "abc"}


def state():
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    rows = [EpochMetrics(1, 0.5, 0.75, 0.6, 1e-4, 1.0)]
    average = {name: value + 1 for name, value in network.state_dict().items()}
    return FoldState(
        network.state_dict(), optimizer.state_dict(), average, network.state_dict(), history=rows
    )


def test_what_is_written_is_read(tmp_path):
    ours = state()
    save_checkpoint(tmp_path / "c.pt", ours, IDENTITY)
    read = load_checkpoint(tmp_path / "c.pt", IDENTITY)
    assert torch.equal(read.network["weight"], ours.network["weight"])
    assert torch.equal(read.optimizer["state"][0]["exp_avg"], ours.optimizer["state"][0]["exp_avg"])
    assert read.history == ours.history
    for part in ("average", "best"):
        assert torch.equal(getattr(read, part)["weight"], getattr(ours, part)["weight"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best-epoch1.safetensors", "c.pt"]


def test_the_next_epoch_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    ours, may_write = state(), threading.Event()
    before = {name: value.clone() for name, value in ours.network.items()}

    def slow(*args):
        assert may_write.wait(30)
        save_checkpoint(*args)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", slow)
    with checkpoint_writer.CheckpointWriter(tmp_path / "c.pt", IDENTITY) as writer:
        writer.save(ours)
        for value in ours.network.values():
            value += 1  # the next epoch
        for moments in ours.optimizer["state"].values():
            moments["exp_avg"] += 1
        ours.history.append(EpochMetrics(2, 0.4, 0.5, 0.5, 1e-4, 1.0))
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
    with checkpoint_writer.CheckpointWriter(tmp_path / "c.pt", IDENTITY) as writer:
        for epoch, auc in ((2, 0.7), (3, 0.8), (4, 0.75)):
            writer.save(ours)
            ours.history.append(EpochMetrics(epoch, 0.5, auc, 0.6, 1e-4, 1.0))
            if ours.best_epoch.epoch == epoch:
                ours.best_sha256 = None
        writer.save(ours)
    assert written == ["best-epoch1.safetensors", "best-epoch3.safetensors"]


def test_what_could_not_be_written_is_told(tmp_path, monkeypatch):
    def full(*args):
        raise StudyError("cannot write: No space left on device")

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", full)
    with (
        pytest.raises(StudyError, match="No space"),
        checkpoint_writer.CheckpointWriter(tmp_path / "c.pt", {}) as last,
    ):
        last.save(state())
    with checkpoint_writer.CheckpointWriter(tmp_path / "c.pt", {}) as first:
        first.save(state())
        with pytest.raises(StudyError, match="No space"):
            first.save(state())


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "c.pt", IDENTITY) is None


@pytest.mark.parametrize(
    "change", [{"training": {"epochs": 4}}, {"folds": "abd"}, {"network": "densenet121"}]
)
def test_another_training_s_checkpoint_is_refused(tmp_path, change):
    save_checkpoint(tmp_path / "c.pt", state(), IDENTITY)
    with pytest.raises(TrainingError, match=f"trained with other {next(iter(change))}"):
        load_checkpoint(tmp_path / "c.pt", {**IDENTITY, **change})


@pytest.mark.parametrize("left", [0, 10, 500, -1])
def test_a_truncated_checkpoint_is_told(tmp_path, left):
    file = tmp_path / "c.pt"
    save_checkpoint(file, state(), IDENTITY)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(TrainingError, match="damaged") as caught:
        load_checkpoint(file, IDENTITY)
    assert "delete" in caught.value.remedy


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save(
        {"format": 2, "identity": IDENTITY, "network": Bomb(tmp_path / "ran")}, tmp_path / "c.pt"
    )
    with pytest.raises(TrainingError, match="was not run"):
        load_checkpoint(tmp_path / "c.pt", IDENTITY)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"format": 2}, {"format": 9}, {"format": 2, "identity": IDENTITY, "history": 3}],
)
def test_a_checkpoint_that_lacks_a_part_is_told(tmp_path, content):
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(TrainingError):
        load_checkpoint(tmp_path / "c.pt", IDENTITY)


def test_the_best_epoch_has_the_highest_auc_then_the_lowest_loss_then_is_the_first():
    rows = [(1, 0.7, 0.2), (2, 0.9, 0.6), (3, 0.9, 0.5), (4, 0.9, 0.5), (5, 0.8, 0.1)]
    history = [EpochMetrics(epoch, 0.0, auc, loss, 0.0, 0.0) for epoch, auc, loss in rows]
    assert FoldState({}, {}, {}, {}, None, history).best_epoch.epoch == 3
