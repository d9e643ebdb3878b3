"""Read settings from YAML files, strictly: each error is one line that names the nearest key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ctbone.config import Settings
from ctbone.errors import ConfigError

Section = TypeVar("Section", bound=BaseModel)


def load_settings(path: Path) -> Settings:
    """Read and check a YAML file of settings.

    Raises
    ------
    ConfigError
        The file is missing or is not YAML; a key is unknown (the nearest is named); a value is out
        of range.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the settings ({error.__class__.__name__})", file=path
        ) from error
    try:
        raw = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(
            "the settings are not valid YAML",
            file=path,
            found=" ".join(str(error).split()),
            remedy="correct that line",
        ) from error
    if not isinstance(raw, dict):
        raise ConfigError(
            "the settings have no keys",
            file=path,
            found=type(raw).__name__,
            expected="key: value lines",
        )
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        faults = {_without_model(fault["loc"]): fault for fault in reversed(error.errors())}
        lines = [f"  - {_explain(fault)}" for fault in reversed(faults.values())]
        raise ConfigError("\n".join(["the settings are wrong", *lines]), file=path) from error


def checked(section: type[Section], given: dict[str, Any]) -> Section:
    """Make a section of the settings from the options of a command.

    Raises
    ------
    ConfigError
        A value is out of range.
    """
    try:
        return section.model_validate(given)
    except ValidationError as error:
        faults = error.errors()
        told = dict.fromkeys(
            f"{fault['loc'][0]}: {fault['msg'][0].lower()}{fault['msg'][1:]}" for fault in faults
        )
        raise ConfigError("; or ".join(told), found=repr(faults[0]["input"])) from error


def _without_model(location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Strip the model from the location, so that an error in shared settings is reported once."""
    return (
        location[2:] if location[:1] == ("models",) and location[2:3] == ("training",) else location
    )


class _StrictLoader(yaml.SafeLoader):
    """A YAML loader that refuses a key written twice; YAML itself silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key}' is written twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _explain(error: Any) -> str:
    """Return one line for one of pydantic's errors."""
    location = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _keys_beside(error["loc"])
        nearest = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0)
        return (
            f"{location}: unknown key; did you mean '{nearest[0]}'?"
            if nearest
            else f"{location}: unknown key"
        )
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("missing", "value_error") or not location:
        return f"{location}: {message}" if location else message
    return f"{location}: {message}, found {error['input']!r}"


def _keys_beside(location: tuple[str | int, ...]) -> list[str]:
    """Return the known keys of the section in which an unknown one was found."""
    section: Any = Settings
    for part in location[:-1]:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = (
                section.model_fields[str(part)].annotation
                if str(part) in section.model_fields
                else None
            )
        else:  # the value type of a dict or a tuple of sections
            section = next(
                (a for a in get_args(section) if isinstance(a, type) and issubclass(a, BaseModel)),
                None,
            )
    if isinstance(section, type) and issubclass(section, BaseModel):
        return list(section.model_fields)
    return []


def builtin_config(name: str) -> Path:
    """Return the file of a config that is part of ctbone, or the given path if it is a file.

    Raises
    ------
    ConfigError
        There is no such config; the nearest name is given.
    """
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        return Path(name)
    here = Path(__file__).parent
    folder = here / "configs" if (here / "configs").is_dir() else here.parent / "configs"
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
    hint = f"did you mean '{nearest[0]}'?" if nearest else None
    raise ConfigError("there is no such config", found=name, expected=", ".join(known), remedy=hint)
