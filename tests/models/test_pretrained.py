import pickle

import pytest
import torch
from safetensors.torch import save_file

from ctbone.config import BONE, SOFT_TISSUE, WIDE, ModelSettings
from ctbone.models import ModelError
from ctbone.models.networks import build_network
from ctbone.models.pretrained import load_initial_weights, read_state
from tests.models.small_study import TINY

THREE = (BONE, SOFT_TISSUE, WIDE)


class Bomb:
    """Pickled, it writes a file when a careless reader opens it."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (eval, (f"open({str(self.target)!r}, 'w').close()",))


def resnet(classes=2, windows=THREE, weights="none"):
    model = ModelSettings(dim="2d", network="test_resnet", windows=windows, weights=weights)
    torch.manual_seed(0)
    return build_network(model, classes), model


def saved(tmp_path, network):
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        tmp_path / "w.safetensors",
    )
    return "w.safetensors"


def test_a_local_file_gives_its_weights_and_keeps_our_classifier(tmp_path):
    source, _ = resnet(classes=10)
    name = saved(tmp_path, source)
    torch.manual_seed(1)
    network, model = resnet(classes=2, weights=name)
    head = network.get_classifier().weight.clone()
    load_initial_weights(network, model, tmp_path)
    for key, value in network.state_dict().items():
        if "fc" in key:
            continue
        assert torch.equal(value, source.state_dict()[key]), key
    assert torch.equal(network.get_classifier().weight, head)


def test_the_classifier_is_taken_too_where_the_classes_are_as_many(tmp_path):
    source, _ = resnet(classes=2)
    torch.nn.init.constant_(source.get_classifier().weight, 0.25)
    network, model = resnet(weights=saved(tmp_path, source))
    load_initial_weights(network, model, tmp_path)
    assert torch.equal(network.get_classifier().weight, source.get_classifier().weight)


def test_weights_go_to_the_image_s_part_where_metadata_join_it(tmp_path):
    source, _ = resnet(classes=10)
    model = ModelSettings(
        dim="2d", network="test_resnet", windows=THREE, weights=saved(tmp_path, source)
    )
    network = build_network(model, 2, metadata=3)
    last = network.last.weight.clone()
    load_initial_weights(network, model, tmp_path)
    for key, value in network.image.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key
    assert torch.equal(network.last.weight, last)


def test_imagenet_s_weights_are_asked_for_with_the_grid(tmp_path, monkeypatch):
    import timm

    model = ModelSettings(dim="2d", network="test_vit", windows=THREE, weights="imagenet")
    network = build_network(model, 2, size=64)
    source = timm.create_model("test_vit", img_size=64)
    asked = []
    monkeypatch.setattr(
        timm, "create_model", lambda *args, **kwargs: asked.append(kwargs) or source
    )
    load_initial_weights(network, model, tmp_path, size=64)
    assert asked == [{"pretrained": True, "in_chans": 3, "img_size": 64}]
    assert torch.equal(network.pos_embed, source.pos_embed)


def test_colour_weights_fit_one_window_by_their_sum(tmp_path):
    source, _ = resnet(windows=THREE)
    network, model = resnet(windows=(WIDE,), weights=saved(tmp_path, source))
    load_initial_weights(network, model, tmp_path)
    first = network.pretrained_cfg["first_conv"] + ".weight"
    assert torch.allclose(
        network.state_dict()[first], source.state_dict()[first].sum(1, keepdim=True)
    )


def test_weights_of_another_network_name_the_tensors(tmp_path):
    model = ModelSettings(
        dim="3d", network="densenet", network_options={**TINY, "init_features": 16}
    )
    name = saved(tmp_path, build_network(model, 2))
    ours = ModelSettings(dim="3d", network="densenet", network_options=TINY, weights=name)
    with pytest.raises(
        ModelError, match=r"features.conv0.weight is \(16, 1, 7, 7, 7\), expected \(8, 1, 7, 7, 7\)"
    ):
        load_initial_weights(build_network(ours, 2), ours, tmp_path)


def test_none_leaves_the_network_alone_and_imagenet_in_3d_is_refused(tmp_path):
    model = ModelSettings(dim="3d", network="densenet", network_options=TINY)
    network = build_network(model, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_initial_weights(network, model, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(ModelError, match="no ImageNet weights for the 3d"):
        load_initial_weights(network, model.model_copy(update={"weights": "imagenet"}), tmp_path)


def test_weights_out_of_reach_are_told_with_three_remedies(tmp_path, monkeypatch):
    import timm

    network, model = resnet(weights="imagenet")

    def unreachable(*args, **kwargs):
        assert kwargs["pretrained"] is True
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ModelError) as caught:
        load_initial_weights(network, model, tmp_path)
    assert "no route to host" in str(caught.value)
    for remedy in ("safetensors", "machine with internet", "weights: none"):
        assert remedy in caught.value.remedy


def test_a_pickle_with_code_is_not_run(tmp_path):
    target = tmp_path / "ran"
    raw, zipped = tmp_path / "raw.pt", tmp_path / "zip.pt"
    raw.write_bytes(pickle.dumps({"weight": Bomb(target)}, protocol=2))
    torch.save({"weight": Bomb(target)}, zipped)
    for file in (raw, zipped):
        with pytest.raises(ModelError, match="was not run"):
            read_state(file)
        assert not target.exists()
    torch.load(zipped, weights_only=False)  # a careless reader would have run it
    assert target.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 8 + b"{}", b"PK\x03\x04 no zip"])
def test_a_damaged_file_is_told(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_state(tmp_path / name)
    assert name in caught.value.file


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        read_state(tmp_path / "nowhere.safetensors")


def test_a_pytorch_state_dict_is_read(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt")["a"].tolist() == [1, 1]
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelError, match="no tensors by name"):
        read_state(tmp_path / "list.pt")
