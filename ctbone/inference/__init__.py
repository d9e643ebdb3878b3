"""The ensemble of a model's folds on external cases, which none of them was trained on."""

from ctbone.errors import InferenceError
from ctbone.inference.external import missing_folds, predict_external

__all__ = ["InferenceError", "missing_folds", "predict_external"]
