"""The chain of custody: whether each file of a study still belongs to what it was made from.

The links are: row of the cohort → volume → crop → folds → weights → predictions → fusion → report.
Every stage calls ``require_current`` before it reads; ``ctbone status`` shows the chain.
"""

from ctbone.custody.chain import Chain, Link, inspect, require_crops, require_current
from ctbone.custody.images import crop_digests, source_content, source_place, source_stat
from ctbone.custody.made import settings_key, subject_of
from ctbone.errors import CustodyError

__all__ = [
    "Chain",
    "CustodyError",
    "Link",
    "crop_digests",
    "inspect",
    "require_crops",
    "require_current",
    "settings_key",
    "source_content",
    "source_place",
    "source_stat",
    "subject_of",
]
