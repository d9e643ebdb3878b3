"""Read 20,000 damaged series and masks: each ends in a result or in an error of ctbone."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.dicom.fuzzing import DamagedSeries
from tests.fuzzing import fuzz
from tests.masks import mask_fuzzing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="half series, half masks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, help="a folder with real series, cropped for the run")
    parser.add_argument("--only", choices=("series", "masks"))
    options = parser.parse_args()
    kinds = {"series": DamagedSeries(options.real), "masks": mask_fuzzing.prepare}
    chosen = {options.only: kinds[options.only]} if options.only else kinds
    failed = False
    for name, prepare in chosen.items():
        count = options.inputs // len(chosen)
        started = time.perf_counter()
        findings = fuzz(prepare, count, options.seed)
        seconds = time.perf_counter() - started
        print(f"{count} {name} in {seconds:.0f} s: {len(findings)} findings", flush=True)
        for finding in findings:
            print(f"  {name} {finding.number}: {finding.what}")
        failed |= bool(findings)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
