"""The ensemble of a model's folds on cases that none of them has seen."""

from ctbone.errors import InferenceError
from ctbone.inference.external import predict_external

__all__ = ["InferenceError", "predict_external"]
