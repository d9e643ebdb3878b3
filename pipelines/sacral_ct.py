"""The main paper, stage by stage: malignant or benign sacral tumours on non-contrast CT.

    .venv/bin/python pipelines/sacral_ct.py STUDY

STUDY was made by ``ctbone init STUDY --config sacral_ct``, and holds cohort.csv and scores.csv. What is special to this
paper: a 3D and a 2D network, and a senior radiologist whose scores of all cases are fused with them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ctbone import fusion, inference, report, training, workflow
from ctbone.study import Study


def main(folder: Path) -> None:
    """Take the study in ``folder`` through every stage."""
    study = Study.open(folder)
    problems = workflow.check(study)
    if problems:
        sys.exit("\n".join(str(problem) for problem in problems))
    failed = [outcome.error for outcome in workflow.preprocess(study) if outcome.error]
    if failed:
        sys.exit("\n".join(str(error) for error in failed))
    for model in ("3d", "2d"):
        training.train(study, model)
        inference.predict_external(study, model)
    fusion.fuse(study, scores=study.scores_csv)
    print(f"Report: {report.report(study)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
