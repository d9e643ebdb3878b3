"""The reference in the docs is what the code says."""

import subprocess
import sys
from pathlib import Path


def test_the_reference_is_current():
    script = Path(__file__).parents[1] / "scripts" / "reference.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
