"""Readings of simulated radiologists whose effect of AI is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

LEVELS = ("junior", "junior", "mid", "mid", "senior", "senior")
SKILL = {"junior": 0.3, "mid": 0.6, "senior": 0.9}
SCORES = np.array([1, 2, 3, 4, 6, 7, 8, 9])


def write_readings(
    folder: Path, *, n: int = 60, gain: float = 0.4, seed: int = 0, readers: int = 6
) -> Path:
    """Write scores.csv, cohort.csv and model.csv; ``gain`` is added to the skill with AI."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) < 0.6 * n
    ids = [f"P{number:03d}" for number in range(n)]
    case = rng.normal(scale=0.5, size=n)
    rows = []
    for number, level in enumerate(LEVELS[:readers]):
        own = rng.normal(scale=0.7, size=n)
        for session, more in (("unaided", 0.0), ("aided", gain)):
            x = (SKILL[level] + more) * (2 * y - 1) + case + own + rng.normal(scale=0.5, size=n)
            score = SCORES[np.searchsorted([-3, -1.7, -0.8, 0, 0.8, 1.7, 3], x)]
            seconds = np.exp(rng.normal(4, 0.3, n) - 0.2 * (session == "aided"))
            rows.append(
                pd.DataFrame(
                    {
                        "reader_id": f"r{number}",
                        "level": level,
                        "session": session,
                        "case_id": ids,
                        "score": score,
                        "seconds": seconds.round(1),
                    }
                )
            )
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(rows).to_csv(folder / "scores.csv", index=False)
    cohort = pd.DataFrame({"case_id": ids, "label": np.where(y, "malignant", "benign")})
    cohort.to_csv(folder / "cohort.csv", index=False)
    p = 1 / (1 + np.exp(-(1.5 * (2 * y - 1) + case + rng.normal(size=n))))
    pd.DataFrame({"case_id": ids, "p_malignant": p}).to_csv(folder / "model.csv", index=False)
    return folder
