"""Every network of a model file as ONNX, checked against PyTorch before it is kept."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ctbone.cohort import read_cohort
from ctbone.config import ModelSettings
from ctbone.errors import ReleaseError
from ctbone.models.crops import load_crops
from ctbone.models.ensemble import FoldNetwork
from ctbone.models.network_input import network_input
from ctbone.release.answer import RESEARCH_USE, load_network
from ctbone.release.contents import Release
from ctbone.study import Study, atomic_path

_TOLERANCE = 1e-5
"""Largest difference of a logit of ONNX Runtime from PyTorch's in fp32."""
_BATCHES = (1, 3)
"""Batch sizes of the check: the batch is a dynamic axis."""


def write_onnx(release: Release, folder: Path, study: Study) -> list[Path]:
    """Write ``<model>-fold<k>.onnx`` for every fold, with a dynamic batch.

    The input is the network's: windows scaled to 0–1. The constants of the preprocessing are in the
    file's metadata. ONNX brings portability; it is not faster.

    Parameters
    ----------
    release
        The model file.
    folder
        Where to write.
    study
        The study of the model file, whose crops are the inputs of the comparison.

    Raises
    ------
    ReleaseError
        The packages ``onnx``, ``onnxscript`` and ``onnxruntime`` are missing; a network cannot be
        exported, or its logits differ by more than 1e-5.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise ReleaseError(
            "the export as ONNX needs packages that are not installed",
            found=str(error),
            remedy="pip install onnx onnxscript onnxruntime",
        ) from None
    written = []
    settings = release.contents.settings
    for name, folds in release.contents.folds.items():
        model = settings.models[name]
        images = _real_images(study, model)
        for number in range(len(folds)):
            # Not placed on hardware: layers that are replaced there are not those of ONNX.
            fold = load_network(release, name, number)
            inputs: tuple[torch.Tensor, ...] = (images,)
            if fold.encoding is not None:
                inputs = (
                    images,
                    torch.linspace(-1, 1, fold.encoding.width).expand(len(images), -1),
                )
            path = folder / f"{name}-fold{number}.onnx"
            program = _exported(fold.network, inputs, name)
            with atomic_path(path) as temporary:
                program.save(str(temporary))
                content = onnx.load(str(temporary))
                onnx.helper.set_model_props(content, _metadata(release, name, number))
                onnx.save(content, str(temporary))
                _refuse_difference(onnxruntime, temporary, fold, inputs, path)
            written.append(path)
    return written


def _real_images(study: Study, model: ModelSettings) -> torch.Tensor:
    """Return the network input of the first views of the study's training crops."""
    cases = read_cohort(study).internal[: max(_BATCHES)]
    masks = model.mask != "none"
    crops = load_crops(study, cases, model.dim, masks=masks, dilation=model.mask_dilation)
    lesions = None if crops.masks is None else crops.masks[:, 0]
    seen = network_input(crops.images[:, 0], model.windows, lesions, model.mask)
    return seen.contiguous()


def _exported(network: nn.Module, inputs: tuple[torch.Tensor, ...], name: str) -> Any:
    names = ["image", "metadata"][: len(inputs)]
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.onnx.export(
                network.eval(),
                inputs,
                dynamo=True,
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                verbose=False,
            )
        except Exception as error:  # the exporter raises errors of several libraries
            raise ReleaseError(
                f"the network of '{name}' cannot be exported as ONNX",
                found=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
                remedy="export without --onnx",
            ) from error


def _metadata(release: Release, name: str, number: int) -> dict[str, str]:
    settings = release.contents.settings
    model = settings.models[name]
    return {
        "ctbone.notice": RESEARCH_USE,
        "ctbone.model_file": release.digest,
        "ctbone.fold": str(number),
        "ctbone.classes": json.dumps(settings.classes),
        "ctbone.windows": json.dumps([window.model_dump() for window in model.windows]),
        "ctbone.mask": model.mask,
        "ctbone.view_weights": json.dumps(model.view_weights),
        "ctbone.preprocess": settings.preprocess.model_dump_json(),
        "ctbone.input": "each window: (HU - (center - width / 2)) / width, clipped to 0-1",
    }


def _refuse_difference(
    runtime: Any, file: Path, fold: FoldNetwork, inputs: tuple[torch.Tensor, ...], path: Path
) -> None:
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch in _BATCHES:
        own = [tensor[:batch] for tensor in inputs]
        names = [one.name for one in session.get_inputs()]
        feed = {key: tensor.numpy() for key, tensor in zip(names, own, strict=True)}
        (found,) = session.run(None, feed)
        with torch.inference_mode():
            expected = fold.network(*own).numpy()
        apart = float(np.abs(found - expected).max())
        if not apart <= _TOLERANCE:
            raise ReleaseError(
                "the ONNX network gives other logits than PyTorch",
                file=path,
                found=f"a difference of {apart:.2g} for a batch of {batch}",
                expected=f"{_TOLERANCE:g} at most",
            )
