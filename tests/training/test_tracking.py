import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from ctbone.training import TrainingError, epochs, protocol, train
from tests.models.small_study import model_of, small_study


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(protocol, "draw_curves", lambda *_, **__: None)


@pytest.fixture
def study(tmp_path):
    return small_study(
        tmp_path / "study", models={"3d": model_of("3d", training={"epochs": 3})}, patients=12
    )


class Killed(BaseException):
    pass


def kill_in_epoch(monkeypatch, number):
    real = epochs.train_epoch

    def killing(task, learner, epoch):
        if epoch == number:
            raise Killed
        return real(task, learner, epoch)

    monkeypatch.setattr(epochs, "train_epoch", killing)


@pytest.mark.parametrize("log", ["tensorboard", "mlflow"])
def test_a_missing_tracker_is_an_error_before_any_work(study, monkeypatch, log):
    monkeypatch.setitem(sys.modules, log, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delattr(torch.utils, "tensorboard", raising=False)
    with pytest.raises(TrainingError, match=f"{log} is not installed") as caught:
        train(study, "3d", log=log)
    assert f"pip install {log}" in caught.value.remedy
    assert not (study.root / "runs").exists()


def test_tensorboard_gets_the_metrics_of_each_epoch_once(study, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 3)
        with pytest.raises(Killed):
            train(study, "3d", fold=0, log="tensorboard")
    train(study, "3d", fold=0, log="tensorboard")
    run = study.run_folder("3d", 0)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    metrics = pd.read_csv(run / "metrics.csv")
    for name in ("loss", "score", "validation_loss", "learning_rate"):
        logged = events.Scalars(name)
        assert [event.step for event in logged] == [1, 2, 3]
        assert [event.value for event in logged] == pytest.approx(metrics[name].tolist(), rel=1e-6)


class FakeMLflow:
    """Keeps what is logged, as a tracking server would."""

    def __init__(self):
        self.runs, self.experiment = {}, None

    def set_experiment(self, name):
        self.experiment = name

    @contextmanager
    def start_run(self, run_id=None, run_name=None):
        run_id = run_id or f"run{len(self.runs)}"
        self.current = self.runs.setdefault(run_id, {"name": run_name, "params": {}, "metrics": []})
        yield SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def log_params(self, params):
        assert not self.current["params"]  # a server refuses to change one
        self.current["params"] = params

    def log_metrics(self, metrics, step):
        self.current["metrics"].append((step, metrics))


def test_mlflow_gets_one_run_a_fold_even_after_a_kill(study, monkeypatch):
    server = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", server)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 2)
        with pytest.raises(Killed):
            train(study, "3d", fold=1, log="mlflow")
    train(study, "3d", fold=1, log="mlflow")
    (run,) = server.runs.values()
    assert (server.experiment, run["name"]) == ("small", "3d, fold 1")
    assert [step for step, _ in run["metrics"]] == [1, 2, 3]
    metrics = pd.read_csv(study.run_folder("3d", 1) / "metrics.csv")
    assert [logged["loss"] for _, logged in run["metrics"]] == metrics["loss"].tolist()
    assert run["params"]["training.epochs"] == 3
    assert not any("C0" in str(value) for value in run["params"].values())


def test_a_tracker_changes_no_bit(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", FakeMLflow())
    other = small_study(
        tmp_path / "other", models={"3d": model_of("3d", training={"epochs": 3})}, patients=12
    )
    train(study, "3d", fold=0, log="mlflow")
    train(other, "3d", fold=0)
    assert study.predictions_csv("3d").read_bytes() == other.predictions_csv("3d").read_bytes()
