import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ctbone.models import crops as crops_module
from ctbone.models.batches import Resident, Streamed, batch_source
from ctbone.models.crops import Crops, block

CPU = torch.device("cpu")


def crops_of(cases=7, views=3, masks=True):
    random = torch.Generator().manual_seed(0)
    images = torch.randint(-1000, 3000, (cases, views, 5, 5), dtype=torch.int16, generator=random)
    lesions = (
        (torch.rand((cases, views, 5, 5), generator=random) < 0.3).to(torch.uint8)
        if masks
        else None
    )
    names = tuple(f"C{k}" for k in range(cases))
    return Crops(names, images, ("",) * views, (), np.ones((cases, views)), names, lesions, names)


@pytest.mark.parametrize("kind", [Resident, Streamed])
@pytest.mark.parametrize("masks", [True, False])
def test_batches_are_the_images_in_order(kind, masks):
    crops = crops_of(masks=masks)
    order = np.random.default_rng(1).permutation(21)
    parts = [
        slice(0, 4),
        slice(4, 8),
        slice(8, 8),
        *(slice(k, k + 1) for k in range(8, 20)),
        slice(20, 21),
    ]
    given = list(kind(crops, CPU).batches(order, parts))
    assert len(given) == len(parts)
    for part, batch in zip(parts, given, strict=True):
        for place, hu in zip(order[part], batch.hu, strict=True):
            assert torch.equal(hu, crops.images[place // 3, place % 3])
        assert (batch.mask is None) == (not masks)
        if masks:
            for place, mask in zip(order[part], batch.mask, strict=True):
                assert torch.equal(mask, crops.masks[place // 3, place % 3])


def test_a_stream_that_is_left_early_ends_its_thread():
    source = Streamed(crops_of(), CPU)
    stream = source.batches(np.arange(21), [slice(k, k + 1) for k in range(21)])
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("crops")]


def test_a_processor_keeps_them_where_they_are():
    crops = crops_of()
    assert isinstance(batch_source(crops, CPU), Resident)
    (batch,) = Resident(crops, CPU).batches(np.array([4]), [slice(0, 1)])
    assert torch.equal(batch.hu[0], crops.images[1, 1])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what is mapped")
def test_what_is_too_large_for_the_memory_lies_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(crops_module, "_memory", lambda: 1000)
    mapped = block((10, 10, 10), torch.int16, tmp_path)
    mapped[3] = 7
    assert mapped.sum() == 700
    assert (mapped.dtype, list(tmp_path.iterdir())) == (torch.int16, []), (
        "the file has no name to be left behind"
    )
    maps = Path("/proc/self/maps")
    assert str(tmp_path) in maps.read_text()
    del mapped
    assert block((10, 5, 5), torch.int16, tmp_path).shape == (10, 5, 5)
    assert str(tmp_path) not in maps.read_text()
