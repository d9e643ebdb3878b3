"""The contenders: one epoch of ctbone's training, and of the loop in MONAI's tutorials."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ctbone.cohort import read_cohort
from ctbone.folds import read_or_draw_folds
from ctbone.learning.ranks import Ranks
from ctbone.study import Study
from ctbone.training.epochs import plan_fold_epoch, start_fold, stream, train_epoch
from ctbone.training.task import FoldTask, prepare


@dataclass(frozen=True)
class Contender:
    """An epoch of so many batches, and the part of it that is not the network's."""

    epoch: Callable[[int, int], None]
    augmentation: Callable[[int], float] | None = None


def ctbone_loop(study: Study) -> Contender:
    task = task_of(study)
    learner, _ = start_fold(task, None)

    def augmentation(batches: int) -> float:
        """Seconds that gathering, augmenting and windowing take alone."""
        began = time.perf_counter()
        for _ in stream(task, plan_fold_epoch(task, epoch=1), batches):
            pass
        settle()
        return time.perf_counter() - began

    return Contender(
        lambda number, batches: _refuse_nan(train_epoch(task, learner, number, most=batches)),
        augmentation,
    )


def monai_loop(study: Study, *, separate: bool, workers: int) -> Contender:
    """CacheDataset, random transforms a sample, DataLoader, fp32.

    ``separate``: RandRotate, RandZoom, translation and RandFlip resample one after the other; else
    one RandAffine does the first three. Each has probability 1 except the flip, as in ctbone.
    """
    from monai.data import CacheDataset
    from monai.networks.nets import DenseNet121
    from torch.utils.data import DataLoader

    cohort = read_cohort(study)
    folds = read_or_draw_folds(study, cohort)
    model = study.settings.models["3d"]
    training, size = model.training, study.settings.preprocess.crop_3d.size
    names = folds.cases(0, "train")
    files = [
        {
            "image": str(study.crop(name, "3d")),
            "label": study.settings.classes.index(cohort.case(name).label),
        }
        for name in names
    ]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    network = DenseNet121(spatial_dims=3, in_channels=1, out_channels=2).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    criterion = torch.nn.CrossEntropyLoss()
    loaders: dict[int, DataLoader] = {}

    def loader(batches: int) -> DataLoader:
        if batches not in loaders:
            shown = files[: batches * training.batch_size]
            data = CacheDataset(
                shown, transforms(size, separate), cache_rate=1.0, num_workers=2, progress=False
            )
            loaders[batches] = DataLoader(
                data,
                batch_size=training.batch_size,
                shuffle=True,
                num_workers=workers,
                persistent_workers=workers > 0,
                pin_memory=device.type == "cuda",
            )
        return loaders[batches]

    def epoch(number: int, batches: int) -> None:
        network.train()
        total = 0.0
        for batch in loader(batches):
            images, labels = batch["image"].as_tensor().to(device), batch["label"].to(device)
            optimizer.zero_grad()
            loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        _refuse_nan(total)

    return Contender(epoch)


def transforms(size: int, separate: bool) -> Callable:
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        RandAffined,
        RandFlipd,
        RandRotated,
        RandZoomd,
        ScaleIntensityRanged,
    )

    turn, shift, keys = math.radians(15), 0.1 * size, ["image"]
    fixed = [
        LoadImaged(keys, image_only=True),
        EnsureChannelFirstd(keys),
        ScaleIntensityRanged(keys, a_min=-1000, a_max=1000, b_min=0, b_max=1, clip=True),
    ]
    flip = RandFlipd(keys, prob=0.5, spatial_axis=0)
    if separate:
        moves = [
            RandRotated(
                keys, range_x=turn, range_y=turn, range_z=turn, prob=1.0, padding_mode="zeros"
            ),
            RandZoomd(keys, min_zoom=0.9, max_zoom=1.1, prob=1.0, padding_mode="constant"),
            RandAffined(keys, prob=1.0, translate_range=(shift,) * 3, padding_mode="zeros"),
        ]
    else:
        moves = [
            RandAffined(
                keys,
                prob=1.0,
                rotate_range=(turn,) * 3,
                translate_range=(shift,) * 3,
                scale_range=(0.1,) * 3,
                padding_mode="zeros",
            )
        ]
    return Compose([*fixed, *moves, flip])


def task_of(study: Study) -> FoldTask:
    cohort = read_cohort(study)
    folds = read_or_draw_folds(study, cohort)
    return prepare(study, "3d", cohort=cohort, folds=folds, ranks=Ranks())


def settle() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _refuse_nan(loss: float) -> None:
    if not math.isfinite(loss):
        raise SystemExit("the loss is NaN: this run cannot be compared")
