"""The model file as hostile input: refused in words, never run, never half read."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest

from ctbone.errors import ReleaseError
from ctbone.release import Predictor, read_release, write_release
from ctbone.release.archive import parse_release
from ctbone.release.contents import FORMAT
from tests.release.tiny_release import TINY, hostile, members_of, packed, tiny_release


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.ctbone"
    tiny_release(path)
    return path


@pytest.fixture
def members(file):
    return members_of(file.read_bytes())


def refused(content: bytes, words: str) -> None:
    with pytest.raises(ReleaseError, match=words) as caught:
        Predictor(parse_release(content, Path("m.ctbone")))
    assert "\n    at " not in str(caught.value)


def test_what_is_written_is_read_and_written_again_alike(file, tmp_path):
    release = read_release(file)
    digest = write_release(tmp_path / "again.ctbone", release)
    assert (tmp_path / "again.ctbone").read_bytes() == file.read_bytes()
    assert digest == release.digest
    assert Predictor(release).dims == {"3d"}


def test_every_member_is_plain_data(members):
    assert {name.rsplit(".", 1)[-1] for name in members} == {"json", "md", "safetensors"}


def test_another_version_is_refused(members):
    manifest = json.loads(members["manifest.json"]) | {"format": FORMAT + 1}
    changed = {**members, "manifest.json": json.dumps(manifest).encode()}
    refused(packed(changed), "another version of the format")


def test_a_changed_member_is_refused(members):
    for name in members:
        if name != "manifest.json":
            changed = {**members, name: members[name] + b" "}
            refused(packed(changed, listed=False), "changed after it was written")


def test_other_weights_are_refused_even_with_a_new_list(members):
    (name,) = (one for one in members if one.startswith("weights/"))
    data = bytearray(members[name])
    data[-1] ^= 1
    refused(packed({**members, name: bytes(data)}), "not those of the trained fold")


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/x.json", "weights/../../x", "C:\\x.json", "..\\x.json"]
)
def test_a_path_that_leads_out_is_refused(members, name):
    refused(packed({**members, name: b"{}"}), "leads out of it|unknown member")


def test_a_pickle_is_refused_and_not_run(members, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    for name in ("weights/3d/fold0.pkl", "weights/3d/fold0.pt", "model.bin"):
        refused(packed({**members, name: pickle.dumps(Evil())}), "such as a pickle")
    (name,) = (one for one in members if one.startswith("weights/"))
    refused(packed({**members, name: pickle.dumps(Evil())}), "not those of the trained fold")
    assert not (tmp_path / "ran").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(members):
    bomb = {**members, "release.json": b" " * (1 << 24)}
    refused(packed(bomb, deflated=True), "compressed or encrypted")
    refused(packed({**members, "model_card.md": b" " * ((16 << 20) + 1)}), "too long")
    out = io.BytesIO(packed(members))
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("release.json", b"{}")
    refused(out.getvalue(), "unknown member")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("settings", "models", "3d", "network"), "os:system", "plug-in"),
        (("settings", "models", "3d", "network"), "nothing121", "cannot be built"),
        (("settings", "models", "3d", "network_options"), {**TINY, "growth_rate": 3}, "do not fit"),
        (("first",), "2d", "not among the answers"),
        (("answers", 0, "threshold"), float("nan"), "not valid"),
        (("answers", 0, "kind"), "combination", "unknown parts"),
        (("unknown",), 1, "Extra inputs"),
        (("settings", "models", "3d", "normalise"), "training", "normalised in another way"),
        (("folds", "3d", 0, "computed_otherwise"), {"none": "fp32"}, "does not fit the network"),
        (("answers", 1, "weights"), {"3d": 1.0}, "no reader of two classes"),
        (("answers", 2, "weights"), {"3d": 1.0}, "not its parts and columns"),
        (("answers", 2, "stack"), [], "stackers of another kind"),
        (("answers", 2, "stack", 0, "medians"), [0.0], "not those of its numbers"),
        (("answers", 2, "stack", 0, "intercept"), [0.0, 1.0], "an intercept for each"),
    ],
)
def test_contents_that_do_not_fit_are_refused(members, place, value, words):
    content = json.loads(members["release.json"])
    node = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    refused(packed({**members, "release.json": json.dumps(content).encode()}), words)


def test_nested_json_is_refused(members):
    for text in ("[" * 100_000, '{"a":' * 100_000):
        refused(packed({**members, "release.json": text.encode()}), "cannot be read|not an object")


def test_no_model_file_at_all(tmp_path):
    for content in (b"", b"PK", b"\x80\x04.", b"not a zip at all", bytes(22)):
        refused(content, "not a model file")
    with pytest.raises(ReleaseError, match="does not exist"):
        read_release(tmp_path / "none.ctbone")


def test_changed_bytes_are_refused_or_harmless(file):
    """350 of the inputs of ``scripts/bench fuzz_model_file``, which tries 20,000."""
    assert survive(file.read_bytes(), 350) > 250


def survive(content: bytes, count: int) -> int:
    """Read hostile archives; return how many were refused. Any other error fails the test."""
    known = parse_release(content, Path("m.ctbone"))
    number = 0
    for changed in hostile(content, count):
        try:
            found = parse_release(changed, Path("m.ctbone"))
            if (found.contents, found.tensors) != (known.contents, known.tensors):
                Predictor(found)
        except ReleaseError:
            number += 1
    return number
