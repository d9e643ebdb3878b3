"""``ctbone power``: tables and pictures of planned studies."""

import json

import pytest
from typer.testing import CliRunner

import ctbone as ct
from ctbone.cli import app
from ctbone.errors import CtboneError
from ctbone.stats.reader_power import ReaderVariability, reader_study_power
from tests.reader_study.simulated import write_readings


def run(*arguments):
    return CliRunner().invoke(app, ["power", *map(str, arguments)], catch_exceptions=False)


def test_a_reader_study_from_conjectured_values(tmp_path):
    found = ct.power_readers(0.06, auc=0.82, change_sd=0.02, out=tmp_path)
    table = found.table.set_index("readers")
    variability = ReaderVariability.conjectured(
        0.82, prevalence=0.5, change_sd=0.02, correlations=(0.5, 0.4, 0.3)
    )
    for readers in (4, 8):
        cases = int(table["cases"][readers])
        powers = [
            reader_study_power(0.06, variability, readers=readers, cases=n)
            for n in (cases - 1, cases)
        ]
        assert powers[0] < 0.8 <= powers[1]
    assert (tmp_path / "figures" / "reader_study_power.svg").is_file()


def test_a_reader_study_from_a_pilot(tmp_path):
    folder = write_readings(tmp_path / "pilot")
    pilot = ("--pilot", folder / "scores.csv", "--truth", folder / "cohort.csv")
    done = run("readers", *pilot, "--difference", 0.05, "--out", tmp_path / "plan")
    assert done.exit_code == 0
    numbers = json.loads((tmp_path / "plan" / "metrics.json").read_text())
    assert "6 readers, 60 cases" in numbers["assumptions"]["Variance components"]
    cases = [row["cases"] for row in numbers["sizes"] if row["cases"]]
    assert cases == sorted(cases, reverse=True)


def test_an_auc_and_a_validation(tmp_path):
    done = run("auc", "--auc", 0.8, "--power", 0.9, "--alpha", 0.1, "--out", tmp_path / "a")
    assert "28 cases, 14 positive and 14 negative" in done.output
    done = run("validation", "--auc", 0.8, "--prevalence", 0.3, "--out", tmp_path / "v")
    assert done.exit_code == 0
    sizes = json.loads((tmp_path / "v" / "metrics.json").read_text())["sizes"]
    assert [row["cases"] for row in sizes] == [900, 551, 359]


@pytest.mark.parametrize(
    "call",
    [
        lambda out: ct.power_readers(out=out),
        lambda out: ct.power_readers(0.05, correlations=(0.1, 0.4, 0.3), out=out),
        lambda out: ct.power_auc(0.8, 0.8, out=out),
        lambda out: ct.power_validation(0.8, 1.2, out=out),
    ],
)
def test_impossible_plans_are_refused(call, tmp_path):
    with pytest.raises(CtboneError):
        call(tmp_path / "plan")
    assert not (tmp_path / "plan").exists()
