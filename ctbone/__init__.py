"""Bone-tumour CT from DICOM to human–AI diagnosis.

The commands of the command line are functions here, with the same names and options::

    import ctbone as ct

    study = ct.init("my_study", config="sacral_ct")
    ct.check(study)
    ct.preprocess(study)
    ct.train(study)
    ct.report(study)

Importing the package is cheap: each name loads its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ctbone.errors import CtboneError
    from ctbone.sample_sizes import power_auc, power_readers, power_validation
    from ctbone.study import Study
    from ctbone.workflow import (
        audit,
        check,
        convert,
        demo,
        doctor,
        evaluate,
        explain,
        export,
        fuse,
        init,
        pacs_pull,
        pacs_push,
        predict,
        preprocess,
        read,
        readers,
        report,
        run,
        status,
        train,
    )

__all__ = [
    "CtboneError",
    "Study",
    "audit",
    "check",
    "convert",
    "demo",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "fuse",
    "init",
    "pacs_pull",
    "pacs_push",
    "power_auc",
    "power_readers",
    "power_validation",
    "predict",
    "preprocess",
    "read",
    "readers",
    "report",
    "run",
    "status",
    "train",
]

_MODULES = {
    "CtboneError": "ctbone.errors",
    "Study": "ctbone.study",
    "power_auc": "ctbone.sample_sizes",
    "power_readers": "ctbone.sample_sizes",
    "power_validation": "ctbone.sample_sizes",
}
"""Where a name of ``__all__`` is defined; all others are in ``ctbone.workflow``."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ctbone' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "ctbone.workflow")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
