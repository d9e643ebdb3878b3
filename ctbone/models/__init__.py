"""Networks, losses, pretrained weights, and the door between HU and a network that training and inference share."""

from ctbone.errors import ModelError

__all__ = ["ModelError"]
