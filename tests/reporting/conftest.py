"""Studies and their reports, made once."""

import shutil
from pathlib import Path

import pytest

from ctbone.document import figure_style
from ctbone.fusion import fuse
from ctbone.reporting import report
from ctbone.study import Study
from tests.reporting.synthetic_study import Sizes, make_study

QUICK = {"bootstrap": 100}


@pytest.fixture(scope="session", autouse=True)
def _coarse_pictures():
    """Nobody looks at the tests' PNGs: few pixels save half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_style, "_DPI", 40)
        yield


@pytest.fixture(scope="session")
def fused_study(tmp_path_factory) -> Study:
    """A fused study of two classes; not to be changed."""
    study = make_study(
        tmp_path_factory.mktemp("report") / "study",
        Sizes((30, 50), (12, 18)),
        title="Pilot <of> bones",
        folds={"count": 3},
        evaluation=QUICK,
    )
    fuse(study, scores=study.scores_csv)
    return study


@pytest.fixture(scope="session")
def reported(fused_study) -> Path:
    """Its page."""
    return report(fused_study)


@pytest.fixture
def study(fused_study, tmp_path) -> Study:
    """A copy that a test may change."""
    shutil.copytree(fused_study.root, tmp_path / "study", ignore=shutil.ignore_patterns("report"))
    return Study.open(tmp_path / "study")


@pytest.fixture
def small_study(study) -> Study:
    """A copy with one model and the reader's fusion with it, which reports in a moment."""
    for path in (
        study.predictions_csv("2d"),
        *(study.fusion_csv(name) for name in ("reader", "3d+2d", "3d+2d+reader")),
    ):
        path.unlink()
    return study
