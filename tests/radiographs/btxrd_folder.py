"""A synthetic folder in the layout of BTXRD: no image or row of the real one."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ctbone.radiographs.btxrd import COLUMNS

PATIENTS = (("normal", "femur"), ("benign", "tibia"), ("malignant", "femur"))


def write_btxrd(folder: Path, *, patients: int = 18, seed: int = 0) -> Path:
    """Write three views of every fifth patient and one of the others, neighbours in the table.

    Normal films are noise, benign ones hold a dark disc, malignant ones a bright square.
    """
    rng = np.random.default_rng(seed)
    for name in ("images", "Annotations"):
        (folder / name).mkdir(parents=True)
    rows, number = [], 0
    for patient in range(patients):
        label, site = PATIENTS[patient % 3]
        age, gender = int(rng.integers(8, 80)), "MF"[patient % 2]
        views = ("frontal", "lateral", "oblique") if patient % 5 == 0 else ("frontal",)
        for view in views:
            number += 1
            row = dict.fromkeys(COLUMNS, 0)
            row |= {"image_id": f"IMG{number:06d}.jpeg", "center": 1 + patient // 3 % 3, "age": age}
            row |= {"gender": gender, site: 1, view: 1, "lower limb": 1}
            if label != "normal":
                row |= {"tumor": 1, label: 1}
                row["osteochondroma" if label == "benign" else "osteosarcoma"] = 1
            rows.append(row)
            _write_image(folder, f"IMG{number:06d}", label, rng)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(folder / "dataset.csv", index=False)
    return folder


def _write_image(folder: Path, stem: str, label: str, rng: np.random.Generator) -> None:
    grey = rng.normal(110, 12, (90, 70))
    if label != "normal":
        x, y = (int(n) for n in rng.integers(15, 40, 2))
        disc = np.hypot(*(np.indices((24, 24)) - 11.5)) < 11
        grey[y : y + 24, x : x + 24] += -60 * disc if label == "benign" else 60
        box = [[x - 2, y - 2], [x + 26, y + 26]]
        shape = {"label": "tumor", "points": box, "shape_type": "rectangle"}
        content = {
            "imagePath": f"{stem}.jpeg",
            "imageHeight": 90,
            "imageWidth": 70,
            "shapes": [shape],
        }
        (folder / "Annotations" / f"{stem}.json").write_text(json.dumps(content))
    picture = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    picture.save(folder / "images" / f"{stem}.jpeg", quality=92)
