"""ONNX files against PyTorch, on the crops of a study, by ONNX Runtime as a user calls it."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import ctbone as ct
from ctbone.cohort import read_cohort
from ctbone.errors import ReleaseError
from ctbone.folds import read_folds
from ctbone.models.trained import load_trained
from ctbone.nifti import open_nifti
from ctbone.release import onnx_files
from ctbone.training import protocol
from tests.models.small_study import model_of, small_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    models = {"3d": model_of("3d", training={"epochs": 1})}
    root = tmp_path_factory.mktemp("onnx") / "s"
    study = small_study(root, models=models, size=16, patients=12, external=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "draw_curves", lambda *_, **__: None)
        ct.train(study)
    return study


def test_the_files_give_the_logits_of_the_networks(study, tmp_path):
    done = ct.export(tmp_path / "m.ctbone", study=study, onnx=True)
    assert [path.name for path in done.onnx] == ["3d-fold0.onnx", "3d-fold1.onnx"]
    cases = [case.case_id for case in read_cohort(study).internal[5:8]]
    hu = np.stack([open_nifti(study.crop(case, "3d")).read() for case in cases]).astype(np.float32)
    image = np.clip((hu + 1000) / 2000, 0, 1)[:, None]
    digest = read_folds(study, read_cohort(study)).hash
    for fold, path in enumerate(done.onnx):
        network = load_trained(study, "3d", fold, folds=digest)[0].eval()
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for batch in (1, 3):
            (found,) = session.run(None, {"image": image[:batch]})
            with torch.inference_mode():
                expected = network(torch.from_numpy(image[:batch])).numpy()
            assert np.abs(found - expected).max() <= 1e-5
        constants = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
        assert json.loads(constants["ctbone.windows"]) == [{"center": 0.0, "width": 2000.0}]
        assert json.loads(constants["ctbone.preprocess"])["crop_3d"]["size"] == 16


def test_other_logits_are_refused_and_nothing_is_kept(study, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "_TOLERANCE", -1.0)
    with pytest.raises(ReleaseError, match="other logits than PyTorch"):
        ct.export(tmp_path / "m.ctbone", study=study, onnx=True)
    assert not [path for path in tmp_path.glob("m.onnx/*") if path.suffix == ".onnx"]
