"""Do heat maps find what the network uses? Lesions planted at known places, off the centre.

Every crop shows the phantom's sacrum and pelvis, and one small ball in it: with a soft or with a
mineralised core, which is the class. A DenseNet is trained on such crops. Its maps on new crops are
measured against the ball, and compared with the maps of random weights, a Gaussian at the centre of
the crop and random heat. The cases are those with a mineralised core: what speaks for the other
class is the absence of one, which has no place.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ctbone.config import ModelSettings, TrainingSettings
from ctbone.explaining.activation_maps import grad_cam, grad_cam_plus_plus, score_cam
from ctbone.explaining.evidence import Evidence
from ctbone.explaining.faithfulness import deletion_and_insertion, heat_in_lesion
from ctbone.explaining.input_maps import integrated_gradients, occlusion
from ctbone.explaining.layers import choose_layer, grid_layers
from ctbone.models.hardware import choose_hardware
from ctbone.models.network_input import network_input
from ctbone.models.networks import build_network
from ctbone.phantom.anatomy import render_anatomy
from ctbone.phantom.patient import draw_patient
from ctbone.stats import proportion

FIELD = 96.0
"""Edge of the crop in mm, as with the main paper's protocol."""
RADIUS = (8.0, 12.0)
"""Radius of a lesion in mm: it fills 0.2 to 0.8 % of the crop's volume."""
SMALL = {"block_config": [2, 4, 4], "growth_rate": 12, "init_features": 16}
"""The network of the demo: its cells are as large as those of a DenseNet121, its layers fewer."""
CORE = (30.0, 800.0)
"""HU of the core of a lesion of each class; the rim is 450 HU in both."""

Draw = Callable[[Evidence, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Planted:
    """Crops in HU, (cases, …grid); the lesions' masks, the same shape; classes, (cases,)."""

    hu: torch.Tensor
    lesions: np.ndarray
    labels: np.ndarray


def plant(count: int, *, dim: str, size: int, seed: int) -> Planted:
    """Draw crops with one lesion each, anywhere in the crop."""
    random = np.random.default_rng(seed)
    spacing = FIELD / size
    depth = size if dim == "3d" else 1
    shape = (size, size, depth)
    crops, lesions = [], []
    labels = np.arange(count) % 2
    for label in labels:
        age = int(random.integers(20, 80))
        patient = draw_patient(random, age=age, sex="female" if random.random() < 0.5 else "male")
        affine = np.diag([spacing, spacing, spacing, 1.0])
        middle = random.normal((0, 0, 0), (15, 8, 25))
        affine[:3, 3] = middle - (np.array(shape) - 1) / 2 * spacing
        hu = render_anatomy(patient, affine, shape).hu + random.normal(0, 25, shape)
        radius = random.uniform(*RADIUS)
        free = FIELD / 2 - radius - 2
        centre = random.uniform(-free, free, 3) * (1, 1, dim == "3d")
        grid = (np.indices(shape).T - (np.array(shape) - 1) / 2).T * spacing
        far = np.sqrt(((grid.T - centre) ** 2).sum(axis=-1)).T - radius
        grain = random.normal(0, 60, shape)
        hu = np.where(far <= 0, 450 + grain, hu)
        hu = np.where(far <= -3, CORE[label] + grain, hu)
        crops.append(np.clip(hu, -1024, 3000).astype(np.int16))
        lesions.append(far <= 0)
    images, masks = np.stack(crops), np.stack(lesions)
    if dim == "2d":
        images, masks = images[..., 0], masks[..., 0]
    return Planted(torch.from_numpy(images), masks, labels)


def inputs_of(planted: Planted, model: ModelSettings) -> torch.Tensor:
    """Return the network's input, (cases, 1, …grid)."""
    return network_input(planted.hu, model.windows)


def learn(
    network: nn.Module, planted: Planted, model: ModelSettings, *, epochs: int, rate: float = 1e-3
) -> nn.Module:
    """Train a network with flips, Adam and a cosine schedule."""
    images, labels = inputs_of(planted, model), torch.from_numpy(planted.labels)
    random = np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    steps = epochs * -(-len(images) // 8)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    network.train()
    for epoch in range(epochs):
        losses = []
        for part in np.array_split(random.permutation(len(images)), -(-len(images) // 8)):
            seen = images[part]
            flipped = [axis for axis in range(2, seen.dim()) if random.random() < 0.5]
            seen = seen.flip(flipped) if flipped else seen
            loss = nn.functional.cross_entropy(network(seen), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"  epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)
    return network.eval()


def randomised(network: nn.Module) -> None:
    """Draw all weights anew."""
    torch.manual_seed(1)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


def centred_gaussian(_: Evidence, image: torch.Tensor) -> torch.Tensor:
    """Return a Gaussian at the crop's centre; its standard deviation is a sixth of the edge."""
    axes = [torch.linspace(-3, 3, size) for size in image.shape[2:]]
    far = sum(axis.square() for axis in torch.meshgrid(*axes, indexing="ij"))
    return torch.exp(-far / 2)


def random_heat(_: Evidence, image: torch.Tensor) -> torch.Tensor:
    """Return independent random values."""
    return torch.rand(image.shape[2:], generator=torch.Generator().manual_seed(0))


def contenders(evidence: Evidence, image: torch.Tensor, *, channels: int) -> dict[str, Draw]:
    """Return every method, and Grad-CAM at every layer, by name."""
    size = image.shape[2]
    spacing = FIELD / size
    found: dict[str, Draw] = {}
    layers = grid_layers(evidence.network, [image])
    chosen = choose_layer(layers, None, size=size, spacing=spacing, network="DenseNet")
    for layer in layers:
        cell = f"{layer.name}, {layer.cell(size, spacing):.3g} mm"
        cell += " (default)" * (layer == chosen)
        found[f"grad-cam @ {cell}"] = partial(grad_cam, layer=layer.name)
        found[f"grad-cam++ @ {cell}"] = partial(grad_cam_plus_plus, layer=layer.name)
        found[f"score-cam @ {cell}"] = partial(score_cam, layer=layer.name, channels=channels)
    edge = round(24 / spacing)
    found["integrated-gradients"] = partial(integrated_gradients, smooth=2.0)
    found["occlusion"] = partial(occlusion, edge=edge, stride=edge // 2)
    found["centred gaussian"] = centred_gaussian
    found["random heat"] = random_heat
    return found


def measure(
    draw: Draw, network: nn.Module, planted: Planted, images: torch.Tensor, *, curves: bool
) -> pd.DataFrame:
    """Measure one method on every crop with a mineralised core, for that class."""
    rows = []
    evidence = Evidence(network, target=1)
    for number, image in enumerate(images.split(1)):
        if planted.labels[number] != 1:
            continue
        started = time.perf_counter()
        heat = draw(evidence, image).numpy()
        seconds = time.perf_counter() - started
        found = heat_in_lesion(heat, planted.lesions[number])
        row = {"case": number, "seconds": seconds}
        row |= {
            "points": bool(found and found.points),
            "inside": found.inside if found else 0.0,
            "ratio": found.ratio if found else 0.0,
        }
        if curves:
            along = deletion_and_insertion(evidence, image, heat)
            row |= {"deletion": along.deletion_area, "insertion": along.insertion_area}
        rows.append(row)
    return pd.DataFrame(rows)


def mean_interval(values: Sequence[float]) -> str:
    """Return mean and 95 % bootstrap interval."""
    array = np.asarray(values, float)
    draws = np.random.default_rng(0).choice(array, (4000, len(array))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{array.mean():.3g} ({low:.3g}–{high:.3g})"


def line_of(name: str, found: pd.DataFrame) -> dict[str, str]:
    """Return a method's row of the table."""
    points = proportion(int(found["points"].sum()), len(found))
    row = {
        "map": name,
        "n": str(len(found)),
        "pointing %": f"{100 * points.value:.0f} ({100 * points.low:.0f}–{100 * points.high:.0f})",
        "heat in the lesion": mean_interval(found["inside"]),
        "to its volume": mean_interval(found["ratio"]),
    }
    for name in ("deletion", "insertion"):
        row[name] = mean_interval(found[name]) if name in found else ""
    return row | {"s a map": f"{found['seconds'].median():.2g}"}


def print_row(row: dict[str, str], *, head: bool) -> None:
    if head:
        print("| " + " | ".join(row) + " |")
        print("|" + "---|" * len(row))
    print("| " + " | ".join(row.values()) + " |", flush=True)


def trained(options: argparse.Namespace, model: ModelSettings, size: int) -> nn.Module:
    """Return the network, trained now or with the weights kept from an earlier run."""
    torch.manual_seed(0)
    hardware = choose_hardware(TrainingSettings(precision="fp32"))
    network = hardware.place(build_network(model, 2))
    file = (
        options.keep
        and Path(options.keep) / f"{model.dim}_{size}_{len(model.network_options)}.safetensors"
    )
    if file and file.is_file():
        network.load_state_dict(load_file(file))
        return network.eval()
    planted = plant(options.train, dim=model.dim, size=size, seed=1)
    learn(network, planted, model, epochs=options.epochs)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(state, file)
    return network


def run(options: argparse.Namespace, dim: str, size: int) -> None:
    options_of = {"network": "monai.densenet", "network_options": SMALL} if options.small else {}
    model = ModelSettings(dim=dim, **options_of)
    network = trained(options, model, size)
    test = plant(options.cases, dim=dim, size=size, seed=2)
    images = inputs_of(test, model)
    with torch.no_grad():
        called = torch.cat([network(image).argmax(1) for image in images.split(1)]).numpy()
    print(f"\n{dim}, {size} voxels along an edge of {FIELD:g} mm: ", end="")
    print(f"{(called == test.labels).sum()} of {len(called)} classified right")
    drawn = contenders(Evidence(network, 1), images[:1], channels=options.channels)
    for number, (name, draw) in enumerate(drawn.items()):
        slow = name.startswith(("score", "integrated", "occlusion"))
        few = images[: options.slow] if slow or options.curves else images
        found = measure(draw, network, test, few, curves=options.curves)
        print_row(line_of(name, found), head=number == 0)
    randomised(network)
    for name, draw in drawn.items():
        if name.startswith(("grad-cam @", "integrated")):
            few = images[: options.slow] if name.startswith("integrated") else images
            found = measure(draw, network, test, few, curves=False)
            print_row(line_of(f"{name}, random weights", found), head=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", choices=["2d", "3d"], action="append")
    parser.add_argument("--size", type=int, help="voxels along the edge; default 48 in 3D, 112")
    parser.add_argument("--small", action="store_true", help="the demo's network, in minutes")
    parser.add_argument("--train", type=int, default=192, help="crops to train on")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--cases", type=int, default=60, help="crops to draw maps of")
    parser.add_argument("--slow", type=int, default=24, help="of these for the slow methods")
    parser.add_argument("--channels", type=int, default=32, help="of Score-CAM")
    parser.add_argument(
        "--curves", action="store_true", help="deletion and insertion too, of the --slow cases"
    )
    parser.add_argument("--keep", help="folder in which trained weights are kept")
    options = parser.parse_args()
    for dim in options.dim or ["3d", "2d"]:
        run(options, dim, options.size or (48 if dim == "3d" else 112))


if __name__ == "__main__":
    main()
