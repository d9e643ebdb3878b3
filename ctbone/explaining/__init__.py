"""Maps of what a network uses: class activation maps, integrated gradients and occlusion."""

from ctbone.errors import ExplainError
from ctbone.explaining.study_maps import Explanations, explain_study

__all__ = ["ExplainError", "Explanations", "explain_study"]
