from ctbone.config import ModelSettings
from ctbone.reporting.method import _choices


def test_the_method_names_every_difference_from_the_protocol_and_nothing_else():
    assert _choices(ModelSettings(dim="3d")) == ""
    training = {
        "class_weights": "balanced",
        "label_smoothing": 0.1,
        "sampling": "balanced",
        "mixup": 0.2,
        "warmup_epochs": 2,
        "schedule": "cosine",
        "ema": 0.99,
        "early_stopping": 7,
        "micro_batch": 5,
    }
    text = _choices(ModelSettings(dim="3d", metadata=["age"], training=training))
    for words in (
        "(age)",
        "balanced",
        "0.1",
        "balanced sampling",
        "0.2",
        "2 epochs",
        "cosine",
        "0.99",
        "7 epochs",
        "of 5",
    ):
        assert words in text
