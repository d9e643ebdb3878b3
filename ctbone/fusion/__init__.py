"""Fusion of models and readers by weights, stacking or recalibration."""

from ctbone.errors import FusionError
from ctbone.fusion.fuse import FusionSummary, fuse

__all__ = ["FusionError", "FusionSummary", "fuse"]
