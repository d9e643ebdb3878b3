"""A device whose convolutions have wrong weight gradients, imitated on any device."""

import contextlib

import pytest
import torch
from torch import nn

from ctbone.models.hardware import Hardware, choose_hardware
from ctbone.training import TrainingError, epochs, protocol, train
from tests.models.small_study import model_of, small_study

BATCHES_AN_EPOCH = 2  # 7 training cases in batches of 4


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(protocol, "draw_curves", lambda *_, **__: None)


@pytest.fixture
def study(tmp_path):
    training = {"epochs": 2, "batch_size": 4}
    return small_study(tmp_path / "study", models={"3d": model_of("3d", training=training)})


def spoil(monkeypatch, fault, *, first=1):
    """Replace the weight gradients of 3 x 3 x 3 convolutions from the ``first`` step on.

    Returns the list of the gradients replaced.
    """
    replaced = []
    real = epochs.start_fold

    def start(task, state):
        learner, state = real(task, state)
        steps = dict.fromkeys(learner.network.parameters(), 0)

        def hook(weight):
            def replace(gradient):
                steps[weight] += 1
                if steps[weight] < first:
                    return gradient
                replaced.append(gradient)
                return fault(gradient)

            return replace

        for module in learner.network.modules():
            if isinstance(module, nn.Conv3d) and module.kernel_size == (3, 3, 3):
                module.weight.register_hook(hook(module.weight))
        return learner, state

    monkeypatch.setattr(epochs, "start_fold", start)
    return replaced


def nan(gradient):
    return torch.full_like(gradient, torch.nan)


def noise(gradient):
    """Return noise of the gradient's own norm."""
    random = torch.randn_like(gradient)
    return random * (gradient.norm() / random.norm())


def advice(error, study):
    """Check the parts that every remedy has."""
    device = choose_hardware(study.settings.models["3d"].training)
    assert error.file == str(study.settings_file)
    assert str(device) in error.remedy
    assert "training.channels_last: false" in error.remedy
    assert ("ONEDNN_MAX_CPU_ISA=AVX2" in error.remedy) == (device.device.type == "cpu")
    return error.remedy


def test_a_nan_gradient_ends_in_the_next_batch_with_the_settings_to_change(study, monkeypatch):
    monkeypatch.setattr(epochs, "check_device", lambda task, learner: None)
    spoil(monkeypatch, nan)
    expected = "the loss is NaN in epoch 1, batch 2 of fold 0"
    with pytest.raises(TrainingError, match=expected) as caught:
        train(study, "3d")
    remedy = advice(caught.value, study)
    # the study's settings have no learning rate, the model has one of its own
    assert remedy.startswith("lower models.3d.training.learning_rate")
    assert "crops" not in remedy
    assert not any(study.run("3d", 0).glob("*"))


def test_a_nan_gradient_in_the_last_batch_of_an_epoch_is_noticed_by_validation(study, monkeypatch):
    monkeypatch.setattr(epochs, "check_device", lambda task, learner: None)
    spoil(monkeypatch, nan, first=BATCHES_AN_EPOCH)
    with pytest.raises(TrainingError, match="output is NaN in the validation of fold 0") as caught:
        train(study, "3d")
    assert advice(caught.value, study).startswith("lower models.3d.training.learning_rate")
    assert caught.value.case is None
    assert not any(study.run("3d", 0).glob("*"))


@pytest.mark.parametrize(("value", "name"), [(torch.nan, "NaN"), (torch.inf, "inf")])
def test_the_message_names_the_value_and_the_shared_setting(tmp_path, monkeypatch, value, name):
    model = model_of("3d", training={"learning_rate": 1e-4, "channels_last": False})
    study = small_study(tmp_path, models={"3d": model})
    monkeypatch.setattr(epochs, "_loss", lambda criterion, logits, **_: logits.sum() * 0 + value)
    with pytest.raises(TrainingError) as caught:
        train(study, "3d")
    assert f"the loss is {name} in epoch 1" in str(caught.value)
    assert caught.value.remedy.startswith("lower training.learning_rate")
    assert "channels_last" not in caught.value.remedy


def test_in_bf16_the_first_advice_is_fp32(tmp_path, monkeypatch):
    study = small_study(tmp_path, models={"3d": model_of("3d", training={"precision": "bf16"})})
    monkeypatch.setattr(Hardware, "autocast", lambda self: contextlib.nullcontext())
    monkeypatch.setattr(epochs, "_loss", lambda criterion, logits, **_: logits.sum() * torch.nan)
    with pytest.raises(TrainingError) as caught:
        train(study, "3d")
    assert caught.value.remedy.startswith("set models.3d.training.precision: fp32; or lower")


@pytest.mark.parametrize("fault", [noise, nan])
def test_wrong_gradients_are_noticed_before_the_first_step(study, monkeypatch, tmp_path, fault):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    replaced = spoil(monkeypatch, fault)
    with pytest.raises(TrainingError, match="computes a layer of the network wrong") as caught:
        train(study, "3d")
    assert "gradient of weight wrong by" in caught.value.found
    assert replaced
    assert not any(study.run("3d", 0).glob("*"))
    assert not (tmp_path / "cache").exists()
