"""The five-fold protocol: data on the device, augmentation, the epochs of a fold, checkpoints."""

from ctbone.training.errors import TrainingError
from ctbone.training.protocol import FoldSummary, TrainingSummary, train
from ctbone.training.ranks import is_first_rank
from ctbone.training.spread import train_folds

__all__ = ["FoldSummary", "TrainingError", "TrainingSummary", "is_first_rank", "train", "train_folds"]
