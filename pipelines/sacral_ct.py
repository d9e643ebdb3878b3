"""The main paper: malignant or benign sacral tumours on non-contrast CT, stage by stage.

    .venv/bin/python pipelines/sacral_ct.py STUDY

``ctbone init STUDY --config sacral_ct`` makes STUDY; then fill its cohort.csv and scores.csv. The
paper trains a 3D and a 2D network and fuses them with a senior radiologist, who scored all cases.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ctbone as ct
from ctbone.results import Report


def main(folder: Path) -> Report:
    """Run every stage on the study in ``folder``."""
    checked = ct.check(folder)
    if not checked.ok:
        sys.exit(str(checked))
    preprocessed = ct.preprocess(folder)
    if not preprocessed.ok:
        sys.exit(str(preprocessed))
    print(ct.train(folder))
    print(ct.predict(folder))
    print(ct.fuse(folder, with_reader="scores.csv"))
    return ct.report(folder)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
