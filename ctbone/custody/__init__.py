"""The chain of custody: whether each file of a study still belongs to what it was made from.

The links are: row of the cohort → volume → crop → folds → weights → predictions → fusion → report.
Every stage calls ``require_current`` before it reads; ``ctbone status`` shows the chain.
"""

from ctbone.custody.chain import Chain, inspect, require_crops, require_current
from ctbone.custody.derived_files import settings_key, subject_of
from ctbone.custody.image_files import crop_digests, source_content, source_place, source_stat
from ctbone.custody.link import KINDS, STATES, Link
from ctbone.custody.named_comparisons import NamedComparison, record_primary
from ctbone.custody.plan import Step, is_due, plan, timed
from ctbone.errors import CustodyError

__all__ = [
    "KINDS",
    "STATES",
    "Chain",
    "CustodyError",
    "Link",
    "NamedComparison",
    "Step",
    "crop_digests",
    "inspect",
    "is_due",
    "plan",
    "record_primary",
    "require_crops",
    "require_current",
    "settings_key",
    "source_content",
    "source_place",
    "source_stat",
    "subject_of",
    "timed",
]
