"""The five-fold protocol: data on the device, augmentation, the epochs of a fold, checkpoints."""

from ctbone.training.errors import TrainingError
from ctbone.training.protocol import FoldSummary, TrainingSummary, train

__all__ = ["FoldSummary", "TrainingError", "TrainingSummary", "train"]
