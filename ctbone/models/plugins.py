"""Plug-ins by dotted name: networks, losses and transforms of a package or the study folder."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ctbone.config import Augmentation, ModelSettings
from ctbone.errors import ModelError
from ctbone.study import content_hash, file_hash

_STUDY_PACKAGE = "_ctbone_study_"
"""Modules of a study folder are imported into a package of this name and a digest."""

_study_sources: dict[str, dict[Path, str]] = {}
"""By such a package: the files that were imported into it, and their SHA-256 at that moment."""


@dataclass(frozen=True)
class Plugin:
    """A class or function that the settings name.

    Attributes
    ----------
    name
        As in the settings.
    make
        The class or function.
    sources
        SHA-256 of its source file, by module; of a module in the study folder also those of the
        modules there that it imports.
    """

    name: str
    make: Callable[..., Any]
    sources: dict[str, str]


def is_plugin(name: str) -> bool:
    """Whether a network or loss of the settings is written as ``package.module:name``."""
    return ":" in name


def plugin_sources(model: ModelSettings, folder: Path) -> dict[str, dict[str, str]]:
    """Return ``Plugin.sources`` of every plug-in that a model uses, by its name in the settings."""
    training = model.training
    names = [name for name in (model.network, training.loss) if is_plugin(name)]
    names += [extra.name for extra in training.augmentation.extra]
    return {name: load_plugin(name, folder).sources for name in names}


def load_plugin(name: str, folder: Path | None) -> Plugin:
    """Import a class or function.

    A module that lies in the study folder is imported from there, without a change to ``sys.path``;
    it imports its neighbours by ``from . import``. After a change of its files it is imported anew.

    Parameters
    ----------
    name
        ``package.module:name`` or ``package.module.name``.
    folder
        The study folder; None: installed packages only.

    Raises
    ------
    ModelError
        There is no such module or name (the nearest is given), its import fails, or it cannot be
        called.
    """
    place, _, attribute = name.rpartition(":" if is_plugin(name) else ".")
    if not place or not attribute:
        raise ModelError("no plug-in's name", found=name, expected="package.module:name")
    own = None if folder is None else _file_in(folder, place)
    if folder is not None and own is not None:
        module, sources = _from_study(name, place, folder)
    else:
        module, sources = _installed(name, place, folder), {}
    if not hasattr(module, attribute):
        public = [known for known in dir(module) if not known.startswith("_")]
        raise ModelError(
            f"the module '{place}' has no '{attribute}'",
            found=name,
            file=own,
            remedy=_did_you_mean(attribute, public),
        )
    make = getattr(module, attribute)
    if not callable(make):
        raise ModelError(
            "the plug-in cannot be called",
            found=f"{name}, of type {type(make).__name__}",
            expected="a class or a function",
        )
    file = _source_file(make, module)
    if own is None or file not in _study_sources[module.__name__.partition(".")[0]]:
        sources[str(getattr(make, "__module__", place))] = _installed_hash(file)
    return Plugin(name, make, sources)


def parameters_of(make: Callable[..., Any]) -> list[str]:
    """Names of the arguments of a class or function, those that it passes on included."""
    names: list[str] = []
    sources: list[Any] = list(make.__mro__) if inspect.isclass(make) else [make, _returned(make)]
    for source in sources:
        if source is None:
            break
        found = inspect.signature(
            source.__init__ if inspect.isclass(source) else source
        ).parameters.values()
        names += [
            p.name
            for p in found
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name != "self"
        ]
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            break
    return list(dict.fromkeys(names))


def _returned(make: Callable[..., Any]) -> type | None:
    """Return the class that a function's annotation says it returns."""
    try:
        found = inspect.get_annotations(make, eval_str=True).get("return")
    except Exception:  # an annotation may name what is not there at run time
        return None
    return found if inspect.isclass(found) else None


def _file_in(folder: Path, place: str) -> Path | None:
    """Return the file of a module in the study folder; None where there is none."""
    path = folder.joinpath(*place.split("."))
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _from_study(name: str, place: str, folder: Path) -> tuple[ModuleType, dict[str, str]]:
    folder = folder.resolve()
    package = _STUDY_PACKAGE + content_hash([str(folder), place])[:16]
    known = _study_sources.get(package, {})
    if not known or any(not f.is_file() or file_hash(f) != digest for f, digest in known.items()):
        _forget(package)
        parent = ModuleType(package)
        parent.__path__ = [str(folder)]
        sys.modules[package] = parent
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # no __pycache__ in a study
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(f"{package}.{place}")
    except Exception as error:
        _forget(package)
        raise _import_failed(name, error, _file_in(folder, place)) from error
    finally:
        sys.dont_write_bytecode = writes
    if package not in _study_sources:
        files = [
            Path(str(own.__file__))
            for own_name, own in list(sys.modules.items())
            if own_name.startswith(f"{package}.") and getattr(own, "__file__", None)
        ]
        _study_sources[package] = {file: file_hash(file) for file in files}
    return module, {
        file.relative_to(folder).as_posix(): digest
        for file, digest in sorted(_study_sources[package].items())
    }


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
    _study_sources.pop(package, None)


def _installed(name: str, place: str, folder: Path | None) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if place != missing and not place.startswith(f"{missing}."):
            raise _import_failed(name, error, None) from error
        parent = sys.modules.get(missing.rpartition(".")[0])
        where = [str(folder)] if folder is not None and parent is None else []
        known = [
            found.name
            for paths in (where, None if parent is None else list(getattr(parent, "__path__", [])))
            for found in pkgutil.iter_modules(paths)
        ]
        nearest = _did_you_mean(missing.rpartition(".")[2], known)
        raise ModelError(
            f"there is no module '{missing}'",
            found=name,
            remedy=f"install its package, or put the module next to study.yaml; {nearest}",
        ) from None
    except Exception as error:  # the module's own code runs on import
        raise _import_failed(name, error, None) from error


def _import_failed(name: str, error: Exception, file: Path | None) -> ModelError:
    return ModelError(
        f"the plug-in '{name}' cannot be imported: {type(error).__name__}: {error}",
        file=file,
        remedy="correct its module; modules of the study folder import each other "
        "by 'from . import'",
    )


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
    return f"did you mean '{nearest[0]}'?" if nearest else "it has no public names"


def _source_file(make: Callable[..., Any], module: ModuleType) -> Path:
    try:
        found = inspect.getsourcefile(inspect.unwrap(make))
    except TypeError:  # built in, or an object such as functools.partial
        found = None
    found = found or module.__file__
    if found is None:
        raise ModelError(
            f"'{module.__name__}' has no source file, so no training can be tied to it"
        )
    return Path(found).resolve()


@functools.cache  # once: a module that was imported keeps its code, whatever becomes of its file
def _installed_hash(file: Path) -> str:
    return file_hash(file)


class ExtraTransforms:
    """Further augmentation: MONAI's or TorchIO's transforms, one sample at a time, in HU.

    Parameters
    ----------
    settings
        ``extra`` names the transforms.
    folder
        The study folder, for transforms of its own.
    masked
        Whether the model uses masks, which a spatial transform would leave behind.

    Raises
    ------
    ModelError
        A transform does not exist or does not take its arguments, or moves voxels beside a mask.
    """

    def __init__(self, settings: Augmentation, folder: Path | None, *, masked: bool) -> None:
        self.names = tuple(extra.name for extra in settings.extra)
        self._transforms: list[Callable[[torch.Tensor], Any]] = []
        for extra in settings.extra:
            make = load_plugin(extra.name, folder).make
            try:
                transform: Any = (
                    make(**extra.arguments)
                    if inspect.isclass(make)
                    else functools.partial(make, **extra.arguments)
                )
            except Exception as error:
                raise ModelError(
                    f"the transform '{extra.name}' does not take these arguments: {error}",
                    found=extra.arguments,
                    expected=", ".join(parameters_of(make)),
                    remedy="correct training.augmentation.extra in study.yaml",
                ) from error
            if masked and _is_spatial(transform):
                raise ModelError(
                    f"the transform '{extra.name}' would move the image and not its mask",
                    remedy="take an intensity transform, or set mask: none",
                )
            self._transforms.append(transform)

    def __len__(self) -> int:
        return len(self._transforms)

    def __call__(self, hu: torch.Tensor, seeds: np.ndarray) -> torch.Tensor:
        """Transform a batch.

        Parameters
        ----------
        hu
            (batch, …grid), on any device.
        seeds
            One for each sample and transform, below 2³², (batch, transforms).

        Returns
        -------
        torch.Tensor
            float32 HU of the same shape.

        Raises
        ------
        ModelError
            A transform fails, or changes the shape.
        """
        out = hu.to(torch.float32, copy=True)
        with _random_states_kept(hu.device):
            for row, seeds_of_row in enumerate(seeds.tolist()):
                for number, seed in enumerate(seeds_of_row):
                    out[row] = self._apply(number, out[row], seed)
        return out

    def _apply(self, number: int, image: torch.Tensor, seed: int) -> torch.Tensor:
        name, transform = self.names[number], self._transforms[number]
        # Not torch.manual_seed, which without CUDA formats a traceback: milliseconds a call.
        torch.default_generator.manual_seed(seed)
        if image.device.type == "cuda":
            torch.cuda.default_generators[image.device.index].manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (for transforms that draw from NumPy's global state)
        random.seed(seed)
        if hasattr(transform, "set_random_state"):  # MONAI's Randomizable
            transform.set_random_state(seed=seed)
        shape = (1, *image.shape)
        # TorchIO takes 4D alone: an image of 2D becomes a volume of one slice.
        padded = (*shape, *[1] * (4 - len(shape))) if _of_package(transform, "torchio") else shape
        try:
            found = torch.as_tensor(transform(image.reshape(padded).clone()))
        except Exception as error:
            raise ModelError(
                f"the transform '{name}' failed: {type(error).__name__}: {error}",
                expected="an array transform: float32 HU of shape (1, …grid) in and out",
            ) from error
        if found.shape != padded:
            raise ModelError(
                f"the transform '{name}' changes the shape of the image",
                found=tuple(found.shape),
                expected=padded,
            )
        return found.as_subclass(torch.Tensor).reshape(image.shape)  # MONAI gives a MetaTensor


def _is_spatial(transform: object) -> bool:
    bases = type(transform).__mro__
    return any(
        base.__module__.startswith("monai.transforms.spatial")
        or base.__name__ == "SpatialTransform"
        for base in bases
    )


def _of_package(transform: object, package: str) -> bool:
    return any(base.__module__.split(".")[0] == package for base in type(transform).__mro__)


@contextmanager
def _random_states_kept(device: torch.device) -> Iterator[None]:
    """Leave the random numbers of PyTorch, NumPy and Python as they were."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
