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
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, p.shape) for n, p in theirs.named_parameters()
    ]


def test_the_paper_s_2d_network_is_timm_s_densenet121():
    model = ModelSettings(dim="2d", windows=(BONE, SOFT_TISSUE, WIDE))
    network = build_network(model, classes=2)
    # 6,953,856 of the features, as timm and torchvision count them, and the two outputs
    assert sum(p.numel() for p in network.parameters()) == 6_953_856 + 2 * 1024 + 2


@pytest.mark.parametrize(
    ("dim", "network", "options"),
    [("3d", "densenet", TINY), ("2d", "densenet", TINY), ("2d", "test_resnet", {})],
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


@pytest.mark.parametrize(
    ("network", "options", "monai"),
    [
        ("resnet10", {"widen_factor": 0.125}, "ResNet"),
        ("SEResNet50", {"layers": [1, 1, 1, 1]}, "SEResNet50"),
        ("EfficientNetBN", {"model_name": "efficientnet-b0"}, "EfficientNetBN"),
        (
            "ResNet",
            {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [4, 4, 8, 8]},
            "ResNet",
        ),
    ],
)
@pytest.mark.parametrize("dim", ["3d", "2d"])
def test_any_classifier_of_monai_by_name(dim, network, options, monai):
    model = ModelSettings(
        dim=dim, network=f"monai.{network}", network_options=options, windows=(BONE, WIDE)
    )
    built = build_network(model, classes=3, size=32)
    assert type(built).__name__ == monai
    convolutions = [
        m
        for m in built.modules()
        if isinstance(m, torch.nn.Conv3d if dim == "3d" else torch.nn.Conv2d)
    ]
    assert convolutions[0].in_channels == 2
    assert built.eval()(torch.zeros(2, 2, *[32] * int(dim[0]))).shape == (2, 3)


def test_monai_s_vit_is_built_for_the_grid_and_gives_logits():
    pytest.importorskip("einops")
    options = {"patch_size": 8, "hidden_size": 16, "mlp_dim": 16, "num_layers": 1, "num_heads": 2}
    model = ModelSettings(dim="3d", network="vit", network_options=options)
    built = build_network(model, classes=3, size=16).eval()
    built.classification_head.bias.data[:] = 9  # a squashed output could not follow
    assert (built(torch.zeros(2, 1, 16, 16, 16)) > 5).all()


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "resnet18.a1_in1k", "test_vit2"])
def test_any_backbone_of_timm_by_name(name):
    model = ModelSettings(dim="2d", network=name, windows=(BONE,))
    assert build_network(model, classes=4, size=64).eval()(torch.zeros(2, 1, 64, 64)).shape == (
        2,
        4,
    )


def test_in_2d_timm_s_network_is_meant_unless_monai_s_is_named():
    from monai.networks.nets import ResNet

    assert not isinstance(build_network(ModelSettings(dim="2d", network="resnet18"), 2), ResNet)
    assert isinstance(build_network(ModelSettings(dim="2d", network="monai.resnet10"), 2), ResNet)


@pytest.mark.parametrize(
    ("dim", "network", "options", "problem"),
    [
        ("3d", "BasicUNet", {"features": [4] * 6}, "is not a classifier of images"),
        ("3d", "resnet", {}, "cannot be built with these options: .*block"),
        ("3d", "MILModel", {}, "does not take dimensions, channels and classes"),
        ("2d", "vit_tiny_patch16_224", {"img_size": 32, "depth": 1}, "does not take a grid of 64"),
        ("2d", "resnet18.of_nobody", {}, "cannot be built"),
    ],
)
def test_what_is_no_classifier_of_this_grid_is_refused_with_a_word(dim, network, options, problem):
    with pytest.raises(ModelError, match=problem):
        build_network(
            ModelSettings(dim=dim, network=network, network_options=options), classes=2, size=64
        )


def test_the_trial_draws_no_random_number():
    model = ModelSettings(dim="3d", network="densenet", network_options=TINY)
    torch.manual_seed(0)
    build_network(model, 2)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    build_network(model, 2, size=16)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("windows", [(BONE, SOFT_TISSUE, WIDE), (BONE, WIDE)])
def test_with_weights_the_input_is_normalised_as_they_were_trained(windows):
    torch.manual_seed(0)
    plain = build_network(
        ModelSettings(dim="2d", network="mobilenetv3_small_050", windows=windows), 2
    ).eval()
    ours = build_network(
        ModelSettings(
            dim="2d", network="mobilenetv3_small_050", windows=windows, weights="w.safetensors"
        ),
        2,
    )
    assert ours.state_dict().keys() == plain.state_dict().keys()
    ours.load_state_dict(plain.state_dict())
    seen = torch.rand(2, len(windows), 40, 40)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    by_hand = torch.empty_like(seen)
    for k in range(len(windows)):
        m, d = (mean[k], deviation[k]) if len(windows) == 3 else (sum(mean) / 3, sum(deviation) / 3)
        by_hand[:, k] = (seen[:, k] - m) / d
    torch.testing.assert_close(ours.eval()(seen), plain(by_hand))
    assert not torch.allclose(ours(seen), plain(seen))


def test_a_mask_is_not_normalised():
    model = ModelSettings(
        dim="2d", network="test_resnet", weights="imagenet", mask="channel", windows=(BONE,)
    )
    network = build_network(model, 2)
    assert network.input_mean.flatten().tolist() == [0.5, 0]
    assert network.input_deviation.flatten().tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("dim", "network", "options"),
    [("3d", "densenet", TINY), ("2d", "test_vit", {}), ("3d", "seresnet50", {"layers": [1] * 4})],
)
def test_metadata_meet_the_image_before_the_last_layer(dim, network, options):
    model = ModelSettings(dim=dim, network=network, network_options=options)
    built = build_network(model, classes=3, size=32, metadata=4).eval()
    image, clinic = torch.rand(2, 1, *[32] * int(dim[0])), torch.rand(2, 4)
    features = built.image(image)
    assert features.dim() == 2
    assert built.last.in_features == features.shape[1] + 32
    expected = built.last(torch.cat([features, built.perceptron(clinic)], dim=1))
    assert torch.equal(built(image, clinic), expected)
    assert not torch.allclose(built(image, clinic), built(image, clinic + 1))


def test_a_network_without_a_last_linear_layer_takes_no_metadata():
    with pytest.raises(ModelError, match="without a last linear layer"):
        build_network(ModelSettings(dim="3d", network="basicunet"), 2, size=32, metadata=2)


@pytest.mark.parametrize("dim", ["3d", "2d"])
def test_options_the_network_does_not_take_are_an_error_of_the_settings(dim):
    with pytest.raises(ModelError, match="network_options"):
        build_network(ModelSettings(dim=dim, network_options={"depth_of_soul": 3}), classes=2)


def test_options_that_other_settings_decide_are_refused():
    options = {**TINY, "out_channels": 7}
    with pytest.raises(ModelError, match="out_channels"):
        build_network(
            ModelSettings(dim="3d", network="densenet", network_options=options), classes=2
        )
