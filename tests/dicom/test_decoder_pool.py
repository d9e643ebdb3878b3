from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pydicom.uid as uids
import pytest

from ctbone.config import DicomSettings
from ctbone.dicom import DicomError, decoder_pool, list_series, read_series
from ctbone.dicom.decoder_pool import DecodingError, decode

from .writer import Plan, ramp, write_series

PLAN = Plan(ramp(6, 16, 16, dtype=np.int16), intercept=0.0, syntax=uids.JPEGLosslessSV1)


def script(tmp_path, monkeypatch, text):
    """Run another program instead of the decoder."""
    path = tmp_path / "program.py"
    path.write_text("import sys, os, time\n" + text)
    monkeypatch.setattr(decoder_pool, "_SCRIPT", path)
    monkeypatch.setattr(decoder_pool, "_idle", decoder_pool.queue.SimpleQueue())


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("os.abort()", "crash"),
        ("print('no json', flush=True)", "crash"),
        ('print(\'{"shape": [4, 4], "dtype": "<i2"}\', flush=True)', "crash"),
        (
            'print(\'{"shape": [65535, 65535], "dtype": "<i2"}\', flush=True); time.sleep(60)',
            "MemoryError",
        ),
        ('print(\'{"shape": [4, 4], "dtype": "O"}\', flush=True); time.sleep(60)', "ValueError"),
        ("time.sleep(60)", "crash"),
    ],
)
def test_a_codec_that_crashes_hangs_or_lies_is_an_error(tmp_path, monkeypatch, program, kind):
    script(tmp_path, monkeypatch, program)
    monkeypatch.setattr(decoder_pool, "_SECONDS", 1.0)
    (tmp_path / "any").touch()
    with pytest.raises(DecodingError, match=kind):
        list(decode(tmp_path / "any", None, 256))
    assert decoder_pool._idle.empty()


def test_a_crash_names_the_slice_and_the_next_series_is_read(tmp_path, monkeypatch):
    write_series(tmp_path / "in", PLAN)
    (series,) = list_series(tmp_path / "in", DicomSettings())
    with monkeypatch.context() as patch:
        script(tmp_path, patch, "os.abort()")
        with pytest.raises(DicomError, match=r"cannot be decoded, slice \d along"):
            read_series(series)
    np.testing.assert_array_equal(read_series(series).data, PLAN.stored.transpose(2, 1, 0))


def test_a_child_is_used_again_and_not_shared_with_a_fork(tmp_path):
    path = write_series(tmp_path, PLAN)[0]
    list(decode(path, None, 256))
    child = decoder_pool._idle.get_nowait()
    decoder_pool._idle.put(child)
    list(decode(path, None, 256))
    assert decoder_pool._idle.get_nowait() is child
    decoder_pool._idle.put(child)
    if hasattr(os, "fork"):
        with_child = os.fork()
        if not with_child:
            os._exit(0 if decoder_pool._idle.empty() else 1)
        assert os.waitpid(with_child, 0)[1] == 0


def test_children_end_with_their_parent(tmp_path):
    path = write_series(tmp_path, PLAN)[0]
    code = (
        "from pathlib import Path; from ctbone.dicom import decoder_pool\n"
        f"list(decoder_pool.decode(Path({str(path)!r}), None, 256))\n"
        "print(decoder_pool._idle.get_nowait().pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    for _ in range(100):
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        subprocess.run(["sleep", "0.05"], check=True)
    pytest.fail("the child outlives its parent")


def test_output_of_codecs_is_suppressed(tmp_path, capfd):
    path = write_series(tmp_path, replace(PLAN, syntax=uids.JPEG2000Lossless))[2]
    content = bytearray(path.read_bytes())
    start = content.index(b"\xff\x4f\xff\x51")
    content[start + 8 : start + 16] = b"\xff" * 8
    path.write_bytes(content)
    (series,) = list_series(tmp_path, DicomSettings())
    with pytest.raises(DicomError):
        read_series(series)
    assert capfd.readouterr() == ("", "")
