"""A checkpoint after every epoch: these trainings are interrupted between their short epochs."""

import pytest

from ctbone.learning import checkpoint


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "_INTERVAL", 0.0)
