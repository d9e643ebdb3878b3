"""Crops, networks, losses and weights: shared by training and inference."""

from ctbone.errors import ModelError

__all__ = ["ModelError"]
