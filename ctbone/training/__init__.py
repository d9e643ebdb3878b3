"""Cross-validated training of a classification model: folds, their epochs, their predictions."""

from ctbone.errors import TrainingError
from ctbone.learning.ranks import is_rank_0
from ctbone.training.parallel_folds import train_folds
from ctbone.training.protocol import FoldSummary, TrainingSummary, train

__all__ = [
    "FoldSummary",
    "TrainingError",
    "TrainingSummary",
    "is_rank_0",
    "train",
    "train_folds",
]
