"""The ensemble of a model's folds on cases that none of them has seen."""

from ctbone.inference.external import InferenceError, predict_external

__all__ = ["InferenceError", "predict_external"]
