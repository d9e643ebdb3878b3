"""Normal, benign or malignant radiographs, from a folder in the layout of BTXRD, stage by stage.

    .venv/bin/python pipelines/three_class_radiographs.py BTXRD STUDY [COLUMN]

BTXRD holds dataset.csv, images/ and Annotations/. It has no patients: COLUMN names a column that
groups its rows, otherwise neighbouring rows that agree are one group, and the report says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ctbone as ct
from ctbone.radiographs.btxrd import read_btxrd
from ctbone.results import Report
from ctbone.study import Study, write_table, write_text


def make_study(data: Path, folder: Path, config: str, group: str | None = None) -> Study:
    """Make the study folder of a BTXRD folder; an existing one is opened."""
    if not (folder / "study.yaml").exists():
        cohort = read_btxrd(data, group=group)
        study = ct.init(folder, config=config)
        text = study.settings_file.read_text(encoding="utf-8")
        write_text(study.settings_file, f'{text}\ngrouping: "{cohort.grouped_by}"\n')
        write_table(study.cohort_csv, cohort.table)
        print(cohort)
    return Study.open(folder)


def main(
    data: Path, folder: Path, group: str | None = None, config: str = "three_class_radiographs"
) -> Report:
    """Make the study in ``folder`` and run every stage."""
    study = make_study(data, folder, config, group)
    checked = ct.check(study)
    if not checked.ok:
        sys.exit(str(checked))
    preprocessed = ct.preprocess(study)
    if not preprocessed.ok:
        sys.exit(str(preprocessed))
    print(ct.train(study))
    print(ct.fuse(study))
    return ct.report(study)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4]))
