"""Plug-ins from training to prediction: they train, resume exactly, and a change is refused."""

import pytest

from ctbone.errors import ModelError
from ctbone.inference import predict_external
from ctbone.models.trained import read_card
from ctbone.study import Study
from ctbone.training import TrainingError, epochs, protocol, train
from tests.models.small_study import model_of, small_study

NETWORK = """
from torch import nn

class Pooled(nn.Module):
    def __init__(self, spatial_dims, in_channels, out_channels, width=4):
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        self.first = convolution(in_channels, width, 3)
        self.last = nn.Linear(width, out_channels)

    def forward(self, image):
        return self.last(self.first(image).relu().flatten(2).mean(2))
"""
LOSS = """
from torch.nn import functional as F

def doubled(logits, targets):
    return 2 * F.cross_entropy(logits, targets)
"""
NOISE = {"name": "monai.transforms.RandGaussianNoise", "prob": 1.0, "std": 200.0}


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(protocol, "draw_curves", lambda *args, **named: None)


def made(root, dim="3d", own=True, extra=(NOISE,), **training):
    """A study with a network and a loss beside its study.yaml, if ``own``, and ``extra``."""
    changes = {"network": "own_net:Pooled", "network_options": {"width": 6}} if own else {}
    loss = {"loss": "own_loss:doubled"} if own else {}
    training = {**loss, "augmentation": {"extra": list(extra)}, **training}
    model = {**model_of(dim, training=training), **changes}
    small_study(root, models={"m": model}, size=8 if dim == "3d" else 16)
    (root / "own_net.py").write_text(NETWORK)
    (root / "own_loss.py").write_text(LOSS)
    return Study.open(root)


@pytest.mark.parametrize("dim", ["3d", "2d"])
def test_network_loss_and_augmentation_of_ones_own_train_and_predict(tmp_path, dim):
    study = made(tmp_path, dim, mixup=0.2, micro_batch=4)
    train(study, "m")
    predict_external(study, "m")
    key = read_card(study, "m", 0).training_key
    assert key["network_options"] == {"width": 6}
    assert list(key["plugins"]["own_net:Pooled"]) == ["own_net.py"]
    assert list(key["plugins"]["own_loss:doubled"]) == ["own_loss.py"]
    assert list(key["plugins"][NOISE["name"]]) == ["monai.transforms.intensity.array"]
    assert key["training"]["augmentation"]["extra"] == [NOISE]


@pytest.mark.parametrize("file", ["own_net.py", "own_loss.py"])
def test_a_changed_source_file_is_refused(tmp_path, file):
    study = made(tmp_path, epochs=1)
    train(study, "m")
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text + "# a remark\n")
    with pytest.raises(TrainingError, match="other source code of its plug-ins"):
        train(study, "m")
    with pytest.raises(ModelError, match="other source code of its plug-ins"):
        predict_external(study, "m")
    (tmp_path / file).write_text(text)
    predict_external(study, "m")


def test_changed_arguments_are_refused(tmp_path):
    train(made(tmp_path, epochs=1), "m")
    with pytest.raises(TrainingError, match="other training settings"):
        train(made(tmp_path, epochs=1, extra=[{**NOISE, "std": 100.0}]), "m")


def test_noise_changes_the_outcome_and_survives_a_resumption(tmp_path, monkeypatch):
    def outcome(study):
        return train(study, "m", fold=0).predictions.read_bytes()

    settings = {"own": False, "epochs": 3, "sampling": "balanced"}
    whole = outcome(made(tmp_path / "whole", **settings))
    assert whole != outcome(made(tmp_path / "without", **{**settings, "extra": ()}))
    broken, real = made(tmp_path / "broken", **settings), epochs.train_epoch

    def killed(task, learner, epoch, *rest):
        if epoch == 3:
            raise KeyboardInterrupt
        return real(task, learner, epoch, *rest)

    monkeypatch.setattr(epochs, "train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(broken, "m", fold=0)
    monkeypatch.setattr(epochs, "train_epoch", real)
    assert outcome(broken) == whole


def test_without_extra_the_key_is_that_of_earlier_versions(tmp_path):
    study = small_study(tmp_path, models={"m": model_of("3d", training={"epochs": 1})})
    train(study, "m", fold=0)
    key = read_card(study, "m", 0).training_key
    assert "plugins" not in key
    assert "extra" not in key["training"]["augmentation"]


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"network": "own_net:Poold"}, "Pooled"),
        ({"network": "own_nett:Pooled"}, "own_net"),
        ({"training": {"loss": "own_loss:doubble"}}, "doubled"),
    ],
)
def test_a_wrong_name_stops_before_training(tmp_path, changes, nearest):
    study = made(tmp_path)
    model = {**model_of("3d"), **changes}
    study = small_study(tmp_path, models={"m": model})
    with pytest.raises(ModelError) as caught:
        train(study, "m")
    assert f"did you mean '{nearest}'?" in caught.value.remedy
    assert not (tmp_path / "runs").exists()
