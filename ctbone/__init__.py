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
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    import inspect

    from ctbone.errors import CtboneError
    from ctbone.study import Study
    from ctbone.workflow import (
        check,
        convert,
        demo,
        evaluate,
        fuse,
        init,
        predict,
        preprocess,
        report,
        run,
        train,
    )

__all__ = [
    "CtboneError",
    "Study",
    "check",
    "convert",
    "demo",
    "evaluate",
    "fuse",
    "init",
    "predict",
    "preprocess",
    "report",
    "run",
    "train",
]

_MODULES = {"CtboneError": "ctbone.errors", "Study": "ctbone.study"}
"""Where a name of ``__all__`` is defined; all others are in ``ctbone.workflow``."""

_BOTH = frozenset({"preprocess", "report"})
"""Names of a command and of the package of its stage."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ctbone' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "ctbone.workflow")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CallableStage(ModuleType):
    """The package of a stage, which runs the command of that name when it is called."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._command(*args, **options)

    @property
    def _command(self) -> Any:
        workflow = importlib.import_module("ctbone.workflow")
        return getattr(workflow, self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> inspect.Signature:
        import inspect

        return inspect.signature(self._command)


class _Package(ModuleType):
    """The package itself: Python sets each imported submodule as an attribute of it."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _BOTH and isinstance(value, ModuleType):
            value.__class__ = _CallableStage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
