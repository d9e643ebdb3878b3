"""The floor that everything stands on loads quickly and draws in nothing heavy."""

import subprocess
import sys

import ctbone.stats


def test_import_is_light():
    program = (
        "import sys, ctbone.stats; "
        "print(*[name for name in ('torch', 'pandas', 'scipy', 'sklearn', 'statsmodels', 'monai', 'matplotlib') "
        "if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []


def test_every_public_name_is_there_and_documented():
    for name in ctbone.stats.__all__:
        assert getattr(ctbone.stats, name).__doc__, name
    assert sorted(ctbone.stats.__all__) == sorted(set(ctbone.stats.__all__))
