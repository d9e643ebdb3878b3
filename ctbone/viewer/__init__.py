"""The viewer of volumes and radiographs: plain JavaScript on a 2D canvas, and its slices."""

from ctbone.viewer.image import Layer, ViewerImage, canonical, open_image
from ctbone.viewer.page import STATIC, static_files, viewer_page

__all__ = [
    "STATIC",
    "Layer",
    "ViewerImage",
    "canonical",
    "open_image",
    "static_files",
    "viewer_page",
]
