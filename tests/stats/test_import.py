"""The import of ctbone.stats loads no heavy package."""

import subprocess
import sys

import ctbone.stats


def test_import_loads_no_heavy_package():
    program = (
        "import sys, ctbone.stats; "
        "heavy = 'torch pandas scipy sklearn statsmodels monai matplotlib'.split(); "
        "print(*[name for name in heavy if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []


def test_every_public_name_exists_and_is_documented():
    for name in ctbone.stats.__all__:
        assert getattr(ctbone.stats, name).__doc__, name
    assert sorted(ctbone.stats.__all__) == sorted(set(ctbone.stats.__all__))
