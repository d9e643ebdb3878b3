"""Plug-ins: import, nearest names, source files, and the arguments of losses and transforms."""

import hashlib
import sys

import numpy as np
import pytest
import torch

from ctbone.config import Augmentation, ModelSettings, TrainingSettings
from ctbone.errors import ModelError
from ctbone.models.losses import make_loss
from ctbone.models.networks import build_network
from ctbone.models.plugins import ExtraTransforms, load_plugin

NETWORK = """
import torch
from torch import nn
from .blocks import width

class Net(nn.Module):
    def __init__(self, spatial_dims, in_channels, num_classes, wide=1):
        super().__init__()
        self.last = nn.Linear(in_channels, width(num_classes))
        self.dims, self.wide = spatial_dims, wide

    def forward(self, image):
        return self.last(image.flatten(2).mean(2))

def function(spatial_dims, out_channels, **further):
    return Net(spatial_dims, 1, out_channels, **further)

NUMBER = 3
"""
BLOCKS = "def width(n):\n    return n\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_net.py").write_text(NETWORK)
    (tmp_path / "blocks.py").write_text(BLOCKS)
    return tmp_path


def sha(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_module_of_the_study_folder_is_imported_with_its_neighbours(folder):
    path, modules = list(sys.path), set(sys.modules)
    plugin = load_plugin("own_net:Net", folder)
    assert plugin.sources == {
        "blocks.py": sha(folder / "blocks.py"),
        "own_net.py": sha(folder / "own_net.py"),
    }
    assert sys.path == path
    assert not {"own_net", "blocks"} & (set(sys.modules) - modules)
    assert not (folder / "__pycache__").exists()


def test_two_studies_may_call_their_modules_alike(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "own_net.py").write_text("def Net():\n    return 2\n")
    assert load_plugin("own_net:Net", other).make() == 2
    assert isinstance(load_plugin("own_net:Net", folder).make(3, 1, 2), torch.nn.Module)


@pytest.mark.parametrize("name", ["own_net.py", "blocks.py"])
def test_a_changed_file_is_imported_anew(folder, name):
    before = load_plugin("own_net:Net", folder)
    assert load_plugin("own_net:Net", folder).make is before.make
    with (folder / name).open("a") as file:
        file.write("\nMORE = 1\n")
    after = load_plugin("own_net:Net", folder)
    assert after.make is not before.make
    assert {file for file in after.sources if after.sources[file] != before.sources[file]} == {name}


def test_an_installed_plugin_is_tied_to_the_file_that_defines_it(folder):
    import monai.networks.nets.densenet as densenet

    plugin = load_plugin("monai.networks.nets:DenseNet", folder)
    digest = hashlib.sha256(open(densenet.__file__, "rb").read()).hexdigest()  # noqa: PTH123, SIM115
    assert plugin.sources == {"monai.networks.nets.densenet": digest}


@pytest.mark.parametrize(
    ("name", "problem", "nearest"),
    [
        ("own_nett:Net", "no module 'own_nett'", "own_net"),
        ("monai.networks.netz:DenseNet", "no module 'monai.networks.netz'", "nets"),
        ("own_net:Nett", "has no 'Nett'", "Net"),
        ("own_net:functio", "has no 'functio'", "function"),
        ("monai.networks.nets:DensNet121", "has no 'DensNet121'", "DenseNet121"),
        ("monai.transforms.RandGausianNoise", "has no 'RandGausianNoise'", "RandGaussianNoise"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(folder, name, problem, nearest):
    with pytest.raises(ModelError, match=problem) as caught:
        load_plugin(name, folder)
    assert f"did you mean '{nearest}'?" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def Net(:", "SyntaxError"),
        ("import no_such_thing\n", "No module named 'no_such_thing'"),
        ("import blocks\n", "No module named 'blocks'"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(folder, text, problem):
    (folder / "own_net.py").write_text(text)
    with pytest.raises(ModelError, match=problem) as caught:
        load_plugin("own_net:Net", folder)
    assert caught.value.file == str(folder / "own_net.py")


def test_what_cannot_be_called_is_refused(folder):
    with pytest.raises(ModelError, match="cannot be called"):
        load_plugin("own_net:NUMBER", folder)


def test_a_package_that_is_not_installed_is_named(folder):
    with pytest.raises(ModelError, match="no module 'torchio'") as caught:
        load_plugin("torchio.RandomNoise", folder)
    assert "install its package" in caught.value.remedy


@pytest.mark.parametrize(("name", "dim"), [("own_net:Net", "3d"), ("own_net:function", "2d")])
def test_a_network_gets_what_its_signature_takes(folder, name, dim):
    model = ModelSettings(dim=dim, network=name, network_options={"wide": 5})
    network = build_network(model, 3, size=8, folder=folder)
    assert (network.dims, network.wide) == (int(dim[0]), 5)
    assert network(torch.zeros(2, 1, *[8] * int(dim[0]))).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("own_net:Net", {"width": 5}, "cannot be built with these options"),
        ("own_net:Net", {"in_channels": 5}, "network_options cannot hold in_channels"),
        ("blocks:width", {"n": 2}, "makes no network"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(folder, name, options, problem):
    model = ModelSettings(dim="3d", network=name, network_options=options)
    with pytest.raises(ModelError, match=problem):
        build_network(model, 2, size=8, folder=folder)


LOSSES = """
import torch
from torch import nn
from torch.nn import functional as F

def plain(logits, targets):
    return F.cross_entropy(logits, targets)

def weighted(logits, targets, class_weights=None, label_smoothing=0.0):
    return F.cross_entropy(logits, targets, weight=class_weights, label_smoothing=label_smoothing)

class Module(nn.Module):
    def __init__(self, class_weights=None):
        super().__init__()
        self.register_buffer("weights", class_weights)

    def forward(self, logits, targets):
        return F.cross_entropy(logits, targets, weight=self.weights)

class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

def each(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")

def cut(logits, targets):
    return F.cross_entropy(logits.detach(), targets)

def broken(logits, targets):
    raise ValueError("no such thing")
"""


@pytest.fixture
def losses(tmp_path):
    (tmp_path / "own_loss.py").write_text(LOSSES)
    return lambda name, weights=None, **training: make_loss(
        TrainingSettings(loss=f"own_loss:{name}", **training), weights, tmp_path
    )


LOGITS = torch.tensor([[0.3, -1.0], [2.0, 0.5], [-0.2, 0.9]])
TARGETS = torch.tensor([0, 1, 1])
WEIGHTS = torch.tensor([1.0, 3.0])


@pytest.mark.parametrize("name", ["weighted", "Module"])
def test_a_loss_gets_class_weights_where_it_takes_them(losses, name):
    expected = torch.nn.functional.cross_entropy(LOGITS, TARGETS, weight=WEIGHTS)
    assert losses(name, WEIGHTS)(LOGITS, TARGETS) == expected
    assert losses(name)(LOGITS, TARGETS) == make_loss(TrainingSettings(), None)(LOGITS, TARGETS)


def test_a_loss_gets_smoothing_and_mixed_targets(losses):
    shares = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.5, 0.5]])
    ours = make_loss(TrainingSettings(label_smoothing=0.2), None)
    torch.testing.assert_close(
        losses("weighted", label_smoothing=0.2)(LOGITS, shares), ours(LOGITS, shares)
    )
    assert losses("plain").mass(shares) == 3.0


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("plain", {"weights": WEIGHTS}, "takes no class_weights"),
        ("plain", {"label_smoothing": 0.1}, "takes no label_smoothing"),
        ("Module", {"label_smoothing": 0.1}, "takes no label_smoothing"),
        ("Trained", {}, "has parameters"),
        ("plane", {}, "has no 'plane'"),
    ],
)
def test_a_loss_that_does_not_fit_the_settings_is_refused(losses, name, settings, problem):
    with pytest.raises(ModelError, match=problem):
        losses(name, **settings)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("each", "no scalar"), ("cut", "no gradient"), ("broken", "failed: no such thing")],
)
def test_what_a_loss_returns_is_checked(losses, name, problem):
    with pytest.raises(ModelError, match=problem):
        losses(name)(LOGITS.clone().requires_grad_(), TARGETS)


def extra(folder, *transforms, masked=False):
    return ExtraTransforms(
        Augmentation(extra=[{"name": name, **given} for name, given in transforms]),
        folder,
        masked=masked,
    )


NOISE = ("monai.transforms.RandGaussianNoise", {"prob": 1.0, "std": 30.0, "sample_std": False})


@pytest.mark.parametrize("grid", [(8, 8), (6, 6, 6)])
def test_noise_has_its_size_and_depends_on_the_seed_of_the_sample_alone(tmp_path, grid):
    hu = torch.randint(-1024, 1000, (40, *grid), dtype=torch.int16)
    seeds = np.arange(40)[:, None]
    noise = extra(tmp_path, NOISE)
    first = noise(hu, seeds)
    assert (first.dtype, first.shape, type(first)) == (torch.float32, hu.shape, torch.Tensor)
    assert 0.9 < float((first - hu).std() / 30) < 1.1
    assert torch.equal(noise(hu.flip(0), seeds[::-1])[0], first[-1])
    assert torch.equal(extra(tmp_path, NOISE)(hu[3:5], seeds[3:5]), first[3:5])
    assert not torch.equal((first - hu)[0], (first - hu)[1])


OWN = """
import random
import numpy as np
import torch

class FromTorch:
    def __call__(self, image):
        return image + torch.rand(())

def from_numpy(image, times=1):
    return image.numpy() + times * np.random.rand()

def from_python(image):
    return image + random.random()

def smaller(image):
    return image[:, 1:]

def broken(image):
    raise KeyError("hu")
"""


@pytest.mark.parametrize("name", ["FromTorch", "from_numpy", "from_python"])
def test_draws_are_reproducible_and_leave_the_callers_random_numbers_alone(tmp_path, name):
    (tmp_path / "own_aug.py").write_text(OWN)
    transform = extra(tmp_path, (f"own_aug.{name}", {}))
    hu, seeds = torch.zeros((3, 4, 4), dtype=torch.int16), np.array([[5], [5], [6]])
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = torch.rand(()), np.random.rand()  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    first = transform(hu, seeds)
    assert (torch.rand(()), np.random.rand()) == expected  # noqa: NPY002
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert torch.equal(transform(hu, seeds), first)


@pytest.mark.parametrize("grid", [(4, 4), (4, 4, 4)])
def test_torchio_gets_images_of_four_dimensions(tmp_path, monkeypatch, grid):
    """A stand-in, as TorchIO is not among the dependencies: its transforms take 4D images alone."""
    package = tmp_path / "installed" / "torchio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import torch\n\nclass RandomNoise:\n    def __call__(self, image):\n"
        "        assert image.ndim == 4\n        return image + torch.randn(image.shape)\n"
    )
    monkeypatch.syspath_prepend(package.parent)
    transform = extra(tmp_path, ("torchio.RandomNoise", {}))
    monkeypatch.delitem(sys.modules, "torchio")
    first = transform(torch.zeros(2, *grid), np.array([[1], [2]]))
    assert first.shape == (2, *grid)
    assert torch.equal(first, transform(torch.zeros(2, *grid), np.array([[1], [2]])))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("own_aug.smaller", {}, "changes the shape"),
        ("own_aug.broken", {}, "failed: KeyError"),
        ("monai.transforms.RandGaussianNoised", {"keys": "image", "prob": 1.0}, "failed"),
    ],
)
def test_a_transform_that_fails_is_named(tmp_path, name, given, problem):
    (tmp_path / "own_aug.py").write_text(OWN)
    with pytest.raises(ModelError, match=problem):
        extra(tmp_path, (name, given))(torch.zeros(1, 4, 4), np.array([[0]]))


def test_arguments_are_checked_and_spatial_transforms_refused_beside_a_mask(tmp_path):
    with pytest.raises(ModelError, match="does not take these arguments") as caught:
        extra(tmp_path, ("monai.transforms.RandGaussianNoise", {"sdt": 3}))
    assert "std" in caught.value.expected
    flip = ("monai.transforms.RandFlip", {"prob": 1.0})
    assert len(extra(tmp_path, flip)) == 1
    with pytest.raises(ModelError, match="not its mask"):
        extra(tmp_path, flip, masked=True)
