"""Where the real images lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real_data(name: str) -> Path:
    """Return a folder of the real data, or skip the test."""
    root = Path(
        os.environ.get("CTBONE_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data")
    )
    if not (root / name).is_dir():
        pytest.skip(f"the real data '{name}' is not at hand: set CTBONE_REAL_DATA")
    return root / name
