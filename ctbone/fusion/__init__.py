"""Weighted fusion of models and readers: weights come from validation predictions, never from what is reported."""

from ctbone.errors import FusionError
from ctbone.fusion.fuse import FusionSummary, fuse

__all__ = ["FusionError", "FusionSummary", "fuse"]
