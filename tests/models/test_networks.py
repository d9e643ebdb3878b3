import pytest
import torch

from ctbone.config import BONE, SOFT_TISSUE, WIDE, ModelSettings
from ctbone.models import ModelError
from ctbone.models.networks import build_network
from tests.models.small_study import TINY


def test_the_paper_s_3d_network_is_monai_s_densenet121():
    from monai.networks.nets import DenseNet121

    ours = build_network(ModelSettings(dim="3d"), classes=2)
    theirs = DenseNet121(spatial_dims=3, in_channels=1, out_channels=2)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [(n, p.shape) for n, p in theirs.named_parameters()]


def test_the_paper_s_2d_network_is_timm_s_densenet121():
    model = ModelSettings(dim="2d", windows=(BONE, SOFT_TISSUE, WIDE))
    network = build_network(model, classes=2)
    # 6,953,856 of the features, as timm and torchvision count them, and the two outputs
    assert sum(p.numel() for p in network.parameters()) == 6_953_856 + 2 * 1024 + 2


@pytest.mark.parametrize(
    ("dim", "network", "options"), [("3d", "densenet", TINY), ("2d", "densenet", TINY), ("2d", "test_resnet", {})]
)
def test_one_channel_a_window_and_one_output_a_class(dim, network, options):
    model = ModelSettings(dim=dim, network=network, network_options=options, windows=(BONE, WIDE))
    grid = (16,) * (3 if dim == "3d" else 2)
    built = build_network(model, classes=5).eval()
    assert built(torch.zeros(2, 2, *grid)).shape == (2, 5)


@pytest.mark.parametrize(
    ("dim", "wrong", "near"), [("3d", "densnet121", "densenet121"), ("2d", "resnet18_", "resnet18")]
)
def test_an_unknown_name_is_answered_with_the_nearest(dim, wrong, near):
    with pytest.raises(ModelError, match=f"did you mean '{near}'"):
        build_network(ModelSettings(dim=dim, network=wrong), classes=2)


@pytest.mark.parametrize("dim", ["3d", "2d"])
def test_options_the_network_does_not_take_are_an_error_of_the_settings(dim):
    with pytest.raises(ModelError, match="network_options"):
        build_network(ModelSettings(dim=dim, network_options={"depth_of_soul": 3}), classes=2)


def test_options_that_other_settings_decide_are_refused():
    options = {**TINY, "out_channels": 7}
    with pytest.raises(ModelError, match="out_channels"):
        build_network(ModelSettings(dim="3d", network="densenet", network_options=options), classes=2)
