"""A trained study as one model file: what a new patient's answer needs, and no patient's data."""

from ctbone.errors import ReleaseError
from ctbone.release.answer import Predictor
from ctbone.release.archive import SUFFIX, read_release, write_release
from ctbone.release.collect import release_file
from ctbone.release.contents import Contents, Release
from ctbone.release.facts import CaseFacts, case_facts
from ctbone.release.onnx_files import write_onnx

__all__ = [
    "SUFFIX",
    "CaseFacts",
    "Contents",
    "Predictor",
    "Release",
    "ReleaseError",
    "case_facts",
    "read_release",
    "release_file",
    "write_onnx",
    "write_release",
]
