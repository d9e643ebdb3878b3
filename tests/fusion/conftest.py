"""A small study for the fusion's tests."""

import shutil

import pytest

from ctbone.study import Study
from tests.reporting.synthetic_study import Sizes, make_study


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory) -> Study:
    """A study whose models have answered and whose reader has scored; not to be changed."""
    return make_study(
        tmp_path_factory.mktemp("fusion") / "study",
        Sizes((25, 45), (8, 12)),
        readers=("senior",),
        folds={"count": 3},
    )


@pytest.fixture
def study(finished_study, tmp_path) -> Study:
    """A copy that a test may change."""
    shutil.copytree(finished_study.root, tmp_path / "study")
    return Study.open(tmp_path / "study")
