"""Weighted fusion of models and readers: weights come from validation predictions, never from what is reported."""

from ctbone.fusion.fuse import FusionSummary, fuse
from ctbone.fusion.parts import FusionError

__all__ = ["FusionError", "FusionSummary", "fuse"]
