"""The five-fold protocol: data on the device, augmentation, the epochs of a fold, checkpoints."""

from ctbone.errors import TrainingError
from ctbone.training.parallel_folds import train_folds
from ctbone.training.protocol import FoldSummary, TrainingSummary, train
from ctbone.training.ranks import is_first_rank

__all__ = [
    "FoldSummary",
    "TrainingError",
    "TrainingSummary",
    "is_first_rank",
    "train",
    "train_folds",
]
