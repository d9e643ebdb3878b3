import json

import pytest
import torch
from typer.testing import CliRunner

import ctbone as ct
from ctbone.cli import app
from tests.models.small_study import model_of, small_study


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return small_study(tmp_path / "secret-name", models={"3d": model_of("3d")})


def run(*arguments):
    result = CliRunner().invoke(app, ["doctor", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_json_holds_what_a_bug_report_needs_and_no_names(study):
    text = run("--study", study.root, "--json")
    found = json.loads(text)
    assert found["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["cases"] == 24
    assert found["hub"] is None
    assert found["disk_needed_gb"] > 0
    model = found["models"]["3d"]
    assert model["faults"] == []
    assert model["seconds_a_sample"] > 0
    # 20 internal cases, 2 folds: each trains on half, for 2 epochs
    assert model["hours"] == pytest.approx(40 * model["seconds_a_sample"] / 3600, abs=0.01)
    assert "secret-name" not in text
    assert "C000" not in text


def test_the_screen_says_what_was_checked(study):
    text = run("--study", study.root)
    assert "every layer is right" in text
    assert "s a sample; the study's protocol" in text
    assert len(text.splitlines()) < 25


def test_it_names_wrong_layers(study, monkeypatch):
    real = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional,
        "linear",
        lambda *a: real(*a) * (1.5 if a[0].dtype != torch.double else 1),
    )
    (fault,) = ct.doctor(study).models["3d"].faults
    assert "class_layers.out" in fault
    assert "output wrong by" in fault


def test_it_needs_no_study(tmp_path):
    found = ct.doctor(tmp_path)
    assert found.models == {}
    assert found.cases is None
    assert found.disk_free_gb > 0


def test_it_asks_the_network_only_if_told(tmp_path, monkeypatch):
    asked = []

    def refuse(address, timeout):
        asked.append(address)
        raise OSError

    monkeypatch.setattr("ctbone.machine_check.urllib.request.urlopen", refuse)
    assert ct.doctor(tmp_path).hub is None
    assert asked == []
    assert "not reachable" in str(ct.doctor(tmp_path, network=True))
    assert asked
