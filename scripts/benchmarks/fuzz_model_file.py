"""Read 20,000 hostile model files: each is refused in words, or is harmless."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.release.test_archive import survive
from tests.release.tiny_release import tiny_release


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.ctbone"
        tiny_release(path)
        started = time.perf_counter()
        refused = survive(path.read_bytes(), options.inputs)
        seconds = time.perf_counter() - started
    print(f"{options.inputs} inputs in {seconds:.0f} s: {refused} refused in words, the rest")
    print("read as plain data whose networks can be built; no other error")


if __name__ == "__main__":
    main()
