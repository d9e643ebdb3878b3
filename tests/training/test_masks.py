"""The lesion mask as network input: read, grown and augmented, in training and inference."""

import json

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage

from ctbone.cohort import read_cohort
from ctbone.config import WIDE, Augmentation, ModelSettings
from ctbone.inference import external as external_cases
from ctbone.inference import predict_external
from ctbone.learning.augmentation import draw, matrices, resample, resample_with_mask
from ctbone.models import ModelError
from ctbone.models.batches import Streamed
from ctbone.models.crops import dilate, load_crops
from ctbone.models.network_input import network_input
from ctbone.predictions import read_predictions
from ctbone.study import Study
from ctbone.training import TrainingError, epochs, task, train
from tests.models.small_study import model_of, small_study, write_settings

CLASSES = ("benign", "malignant")


def with_masks(root, **changes):
    """A study whose balls have their masks beside them, as preprocessing writes them."""
    study = small_study(root, models={"3d": model_of("3d", **changes)}, size=12, patients=20)
    for case in read_cohort(study):
        crop = np.asarray(nibabel.load(study.crop(case.case_id, "3d")).dataobj)
        file = study.crop_mask(case.case_id, "3d")
        file.parent.mkdir(exist_ok=True)
        lesion = ndimage.gaussian_filter(crop.astype(float), 1) > 50
        nibabel.Nifti1Image(lesion.astype(np.uint8), np.diag([2.0, 2, 2, 1])).to_filename(file)
    return study


def seen_by(study, monkeypatch):
    """Network inputs of the first epoch, (batch, channels, …)."""
    seen = []
    real = epochs.network_input

    def spy(*args, **kwargs):
        seen.append(real(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(epochs, "network_input", spy)
    train(study, "3d", fold=0)
    return torch.cat(seen)


def test_the_mask_is_an_additional_channel(tmp_path, monkeypatch):
    study = with_masks(tmp_path, mask="channel", training={"epochs": 1})
    seen = seen_by(study, monkeypatch)
    assert seen.shape[1] == 2
    assert set(seen[:, 1].unique().tolist()) == {0.0, 1.0}
    image, lesion = seen[:, 0], seen[:, 1].bool()
    assert image[lesion].mean() > image[~lesion].mean() + 0.03, (
        "it lies where the lesion is, after the augmentation"
    )


def test_outside_the_mask_is_air(tmp_path, monkeypatch):
    seen = seen_by(with_masks(tmp_path, mask="only", training={"epochs": 1}), monkeypatch)
    assert seen.shape[1] == 1
    assert (seen == 0).float().mean() > 0.5
    plain = seen_by(with_masks(tmp_path / "plain", training={"epochs": 1}), monkeypatch)
    assert (plain == 0).float().mean() < 0.5


@pytest.mark.parametrize("use", ["channel", "only"])
def test_inference_equals_validation(tmp_path, monkeypatch, use):
    """External copies of validation cases get the same probabilities as in validation."""
    monkeypatch.setattr(external_cases, "refuse_shared_voxels", lambda *_: None)
    study = with_masks(tmp_path, mask=use, mask_dilation=2.0, training={"epochs": 1})
    train(study, "3d")
    table = read_predictions(study.predictions_csv("3d"), CLASSES).query(
        "split == 'val' and fold == 0"
    )
    pairs = list(zip([f"C{k:03d}" for k in range(20, 24)], table["case_id"], strict=False))
    for external, internal in pairs:
        for file in (study.crop, study.crop_mask):
            file(external, "3d").write_bytes(file(internal, "3d").read_bytes())
    whole = read_predictions(predict_external(study, "3d"), CLASSES)
    found = whole.query("split == 'external' and fold == 0").set_index("case_id")["p_malignant"]
    expected = table.set_index("case_id")["p_malignant"]
    for external, internal in pairs:
        assert found[external] == pytest.approx(expected[internal], abs=1e-6)


def test_mask_and_image_are_mapped_alike():
    """A threshold of a smooth image stays one after any map, up to the voxels of its edge."""
    random = np.random.default_rng(0)
    image = ndimage.gaussian_filter(random.normal(0, 1, (6, 20, 20, 20)), (0, 3, 3, 3))
    image = 2000 * image / np.abs(image).max()
    hu, mask = (
        torch.from_numpy(image).to(torch.int16),
        torch.from_numpy((image > 200).astype(np.uint8)),
    )
    draws = draw(
        Augmentation(rotation=60, translation=0.2, scale=0.2), np.ones((6, 3), bool), random
    )
    maps = torch.from_numpy(matrices(draws)).float()
    moved, lesion = resample_with_mask(hu, mask, maps, outside=-1024)
    assert torch.equal(moved, resample(hu, maps, outside=-1024))
    assert lesion.dtype == torch.bool
    inside = moved > -1023.9
    assert ((moved > 200) == lesion)[inside].float().mean() > 0.96
    assert ((moved > 200) == mask)[inside].float().mean() < 0.85, (
        "the test can fail: an unmoved mask differs"
    )
    assert not lesion[~inside].any(), "there is no lesion beyond the crop"


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.5])
def test_a_mask_grows_by_a_ball(distance):
    lesion = np.zeros((15, 15, 15), np.uint8)
    lesion[7, 6:9, 7] = lesion[0, 0, 0] = 1
    reach = int(np.ceil(distance))
    offsets = np.mgrid[(slice(-reach, reach + 1),) * 3]
    ball = (offsets**2).sum(axis=0) <= distance**2
    assert (dilate(lesion, distance) == ndimage.binary_dilation(lesion, ball)).all()


def test_dilation_is_in_millimetres(tmp_path):
    """Voxels of 2 mm: 4 mm are two voxels."""
    study = with_masks(tmp_path, mask="channel")
    cases = read_cohort(study).internal
    plain = load_crops(study, cases, "3d", masks=True).masks
    wide = load_crops(study, cases, "3d", masks=True, dilation=4.0).masks
    for one, other in zip(plain[:, 0].numpy(), wide[:, 0].numpy(), strict=True):
        assert (other == dilate(one, 2.0)).all()


def test_a_missing_mask_is_named_and_a_changed_one_is_another_training(tmp_path):
    study = with_masks(tmp_path, mask="channel", training={"epochs": 1})
    train(study, "3d", fold=0)
    file = study.crop_mask("C004", "3d")
    nibabel.Nifti1Image(np.ones((12, 12, 12), np.uint8), np.eye(4)).to_filename(file)
    with pytest.raises(TrainingError, match="other crops"):
        train(study, "3d", fold=0)
    file.unlink()
    with pytest.raises(ModelError, match="1 of 20 cases have no 3d mask: C004") as caught:
        train(study, "3d", fold=0)
    assert "ctbone preprocess" in caught.value.remedy


def test_another_use_of_the_mask_is_another_training(tmp_path):
    study = with_masks(tmp_path, mask="channel", training={"epochs": 1})
    train(study, "3d", fold=0)
    write_settings(
        tmp_path, models={"3d": model_of("3d", mask="only", training={"epochs": 1})}, size=12
    )
    with pytest.raises(TrainingError, match="other mask"):
        train(Study.open(tmp_path), "3d", fold=0)


def test_mask_use_without_a_mask_is_refused():
    with pytest.raises(ValueError, match="not given"):
        network_input(torch.zeros(1, 4, 4), [WIDE], use="only")
    with pytest.raises(ValueError, match="mask_dilation"):
        ModelSettings(dim="3d", mask_dilation=3)


def test_two_dimensions_use_each_view_s_own_spacing(tmp_path):
    study = small_study(
        tmp_path, models={"2d": model_of("2d", mask="channel")}, size=16, patients=10
    )
    for case in read_cohort(study):
        lesion = np.zeros((16, 16, 3), np.uint8)
        lesion[8, 8] = 1
        file = study.crop_mask(case.case_id, "2d")
        file.parent.mkdir(exist_ok=True)
        nibabel.Nifti1Image(lesion, np.eye(4)).to_filename(file)
        record = study.crop(case.case_id, "2d").with_suffix(".json")
        content = json.loads(record.read_text())
        for view, spacing in zip(content["views"], (1.0, 2.0, 4.0), strict=True):
            view["spacing_mm"] = spacing
        record.write_text(json.dumps(content))
    masks = load_crops(study, read_cohort(study).internal, "2d", masks=True, dilation=4.0).masks
    widths = masks.amax(dim=2).sum(dim=2)
    assert (widths == torch.tensor([9, 5, 3])).all()


def test_a_streamed_training_ends_with_the_same_bits(tmp_path, monkeypatch):
    resident = with_masks(tmp_path / "resident", mask="channel")
    streamed = with_masks(tmp_path / "streamed", mask="channel")
    train(resident, "3d", fold=0)
    monkeypatch.setattr(task, "batch_source", Streamed)
    train(streamed, "3d", fold=0)
    names = ("weights.safetensors", "predictions_internal.csv")
    for name in names:
        assert (resident.run("3d", 0) / name).read_bytes() == (
            streamed.run("3d", 0) / name
        ).read_bytes()
