"""Primary bone tumour or bone infection on radiographs, stage by stage.

    .venv/bin/python pipelines/tumour_or_infection.py STUDY

``ctbone init STUDY --config tumour_or_infection`` makes STUDY; then fill its cohort.csv, one row a
radiograph, with the box of the lesion and the clinical columns, and scores.csv. Four networks are
trained and stacked with clinical columns; the stacks are tuned inside the folds.
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
    if ct.Study(folder).cohort["cohort"].ne("internal").any():
        print(ct.predict(folder))
    print(ct.fuse(folder))
    return ct.report(folder)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
