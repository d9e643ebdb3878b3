"""A release of random networks, made without a study, and hostile changes of its bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors

from ctbone.config import Settings
from ctbone.models.networks import build_network
from ctbone.release import Contents, Release, write_release
from ctbone.release.contents import (
    Answer,
    Distances,
    FoldFile,
    Numbers,
    StackFold,
    features_member,
    weights_member,
)
from ctbone.release.facts import CaseFacts, training_range
from ctbone.release.feature_space import fit_feature_space

STACK = StackFold(
    numbers=("3d:1", "reader:1", "age"),
    medians=(0.0, 0.0, 50.0),
    indicators=(2,),
    mean=(0.0, 0.1, 50.0, 0.1),
    deviation=(1.0, 2.0, 10.0, 0.3),
    levels={"site": ("S1", "missing")},
    coefficients=((1.0, 0.5, -0.2, 0.1, 0.3, -0.3),),
    intercept=(0.05,),
)
TINY = {"block_config": [1, 1], "growth_rate": 2, "init_features": 4, "bn_size": 1}


def tiny_release(path: Path, folds: int = 1) -> Release:
    """Write a release of one 3D model, and return it."""
    settings = Settings.model_validate(
        {
            "name": "tiny",
            "preprocess": {"crop_3d": {"size": 8}},
            "models": {"3d": {"dim": "3d", "network": "densenet", "network_options": TINY}},
            "fusion": {"combinations": {}},
        }
    )
    random = np.random.default_rng(0)
    tensors, files = {}, []
    torch.manual_seed(0)
    for fold in range(folds):
        network = build_network(settings.models["3d"], 2)
        weights = save_tensors(dict(network.state_dict()))
        width = network.class_layers.out.in_features
        tensors[weights_member("3d", fold)] = weights
        space = fit_feature_space(random.normal(size=(20, width)))
        tensors[features_member("3d", fold)] = save_arrays(space.arrays())
        files.append(FoldFile(weights=hashlib.sha256(weights).hexdigest(), epoch=1))
    contents = Contents(
        settings=settings,
        folds={"3d": tuple(files)},
        answers=(
            Answer(name="3d", kind="model", weights={"3d": 1.0}, threshold=0.5),
            Answer(name="reader", kind="reader", weights={}, threshold=0.5),
            Answer(
                name="stack",
                kind="stack",
                weights={"3d": 1.0, "reader": 1.0},
                stack=(STACK,),
                columns=("age", "site"),
                threshold=0.5,
            ),
        ),
        first="3d",
        left_out={},
        range=training_range([CaseFacts({"kvp": 120.0}, {"kernel": "B"})] * 5, list("abcde")),
        distances={"3d": Distances(axes=5, distances=Numbers.of(random.uniform(size=20)))},
        cohort={},
        made_with={},
        made_from={},
    )
    release = Release(contents, tensors, card="# tiny\n")
    write_release(path, release)
    return release


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], *, listed: bool = True, deflated: bool = False) -> bytes:
    """Pack members into an archive; with ``listed``, the manifest lists them as they are."""
    if listed and members.get("manifest.json", b"").startswith(b"{"):
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in members.items()
            if name != "manifest.json"
        }
        members = {**members, "manifest.json": json.dumps(manifest).encode()}
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def hostile(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield changed archives: bytes, lengths, members, JSON values, tensors."""
    random = np.random.default_rng(seed)
    members = members_of(content)
    changes = (_bytes, _cut, _spliced, _header, _member, _json_value, _tensor)
    for number in range(count):
        yield changes[number % len(changes)](content, members, random)


def _bytes(content: bytes, _members: dict, random: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for place in random.integers(0, len(content), random.integers(1, 9)):
        changed[place] = random.integers(256)
    return bytes(changed)


def _header(content: bytes, _members: dict, random: np.random.Generator) -> bytes:
    """Change bytes of the central directory, where sizes and offsets are."""
    start = content.rindex(b"PK\x01\x02", 0, len(content)) - int(random.integers(0, 400))
    changed = bytearray(content)
    for place in random.integers(max(0, start), len(content), random.integers(1, 5)):
        changed[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.integers(256)])
    return bytes(changed)


def _cut(content: bytes, _members: dict, random: np.random.Generator) -> bytes:
    return content[: random.integers(0, len(content))]


def _spliced(content: bytes, _members: dict, random: np.random.Generator) -> bytes:
    a, b = sorted(map(int, random.integers(0, len(content), 2)))
    return random.choice([content[:a] + content[b:], content[:b] + content[a:]])


def _member(_content: bytes, members: dict, random: np.random.Generator) -> bytes:
    """Drop, add, rename or exchange members; the manifest agrees."""
    names = list(members)
    name = str(random.choice(names))
    changed = dict(members)
    kind = random.integers(5)
    if kind == 0:
        del changed[name]
    elif kind == 1:
        new = ["../evil.json", "/etc/passwd", "weights/../../x", "a.pkl", "weights/3d/fold9.pt"]
        changed[str(random.choice(new))] = b"\x80\x04."
    elif kind == 2:
        changed[name + "x"] = changed.pop(name)
    elif kind == 3:
        changed[name] = changed[str(random.choice(names))]
    else:
        return packed(changed, deflated=True)
    return packed(changed, listed=bool(random.integers(2)))


_VALUES = (None, True, -1, 0, 10**400, 1e308, "", "x" * 300, "../..", [], {}, [[]], "NaN", ["3d"])


def _json_value(_content: bytes, members: dict, random: np.random.Generator) -> bytes:
    """Exchange one value of the JSON; the manifest agrees."""
    content = json.loads(members["release.json"])
    node = content
    while True:
        key = (
            random.choice(list(node)) if isinstance(node, dict) else int(random.integers(len(node)))
        )
        child = node[key]
        if isinstance(child, dict | list) and child and random.integers(4):
            node = child
            continue
        node[key] = _VALUES[random.integers(len(_VALUES))]
        break
    return packed({**members, "release.json": json.dumps(content).encode()})


def _tensor(_content: bytes, members: dict, random: np.random.Generator) -> bytes:
    """Change the bytes of one tensor file; manifest and digest agree."""
    name = str(random.choice([one for one in members if one.endswith(".safetensors")]))
    data = bytearray(members[name])
    head = min(len(data), 400) if random.integers(2) else len(data)
    for place in random.integers(0, head, random.integers(1, 6)):
        data[place] = random.integers(256)
    content = json.loads(members["release.json"])
    if name.startswith("weights/"):
        content["folds"]["3d"][0]["weights"] = hashlib.sha256(bytes(data)).hexdigest()
    changed = {**members, name: bytes(data), "release.json": json.dumps(content).encode()}
    return packed(changed)
