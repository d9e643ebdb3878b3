"""Boxes from tables, annotations and masks."""

import json

import numpy as np
import pytest
from PIL import Image

from ctbone.errors import RadiographError
from ctbone.radiographs.region import Box, region_of
from tests.radiographs.pictures import case_of

SIZE = (400, 300)


def labelme(path, shapes, image="film.png", width=400, height=300):
    content = {"imagePath": image, "imageWidth": width, "imageHeight": height, "shapes": shapes}
    path.write_text(json.dumps(content))
    return path


def shape(points, kind="polygon"):
    return {"label": "tumor", "points": points, "shape_type": kind}


def test_a_box_is_rounded_outwards_and_clipped_to_the_image():
    assert region_of(case_of("a.png", box=(10.2, 20, 50, 60.1)), SIZE) == Box(10, 20, 50, 61)
    assert region_of(case_of("a.png", box=(-0.5, 0, 400.5, 300)), SIZE) == Box(0, 0, 400, 300)
    assert region_of(case_of("a.png"), SIZE) is None


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ((380, 20, 460, 60), "outside"),
        ((-40, 20, 60, 60), "outside"),
        ((500, 500, 600, 600), "outside"),
        ((50, 50, 50, 80), "no area"),
        ((200, 150, 80, 90), "no area"),
        ((0.1, 0.2, 0.6, 0.9), "shares"),
    ],
)
def test_wrong_boxes_are_named(box, problem):
    with pytest.raises(RadiographError, match=problem) as caught:
        region_of(case_of("a.png", box=box), SIZE)
    assert caught.value.case == "R1"


def test_all_shapes_of_an_annotation_are_covered(tmp_path):
    shapes = [
        shape([[10, 20], [30, 15], [25, 60]]),
        shape([[100, 100], [90, 120]], "rectangle"),
        shape([[200, 200], [203, 204]], "circle"),
    ]
    path = labelme(tmp_path / "film.json", shapes, image="C:\\films\\film.png")
    assert region_of(case_of("film.png", mask=path), SIZE) == Box(10, 15, 205, 205)


def test_an_annotation_without_shapes_is_no_region(tmp_path):
    path = labelme(tmp_path / "film.json", [])
    assert region_of(case_of("film.png", mask=path), SIZE) is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image": "other.png"}, "another image"),
        ({"width": 401}, "another size"),
        ({"shapes": [shape([[1, 2, 3]])]}, "cannot be read"),
        ({"shapes": [shape("text")]}, "cannot be read"),
        ({"shapes": [shape([[1e9, 1e9], [2e9, 3e9]])]}, "outside"),
        ({"shapes": [shape([[float("nan"), 5], [9, 9]])]}, "not finite"),
    ],
)
def test_annotations_that_do_not_belong_are_named(tmp_path, change, problem):
    path = labelme(tmp_path / "a.json", **{"shapes": [shape([[1, 1], [9, 9]])], **change})
    with pytest.raises(RadiographError, match=problem):
        region_of(case_of("film.png", mask=path), SIZE)


def test_the_box_of_a_mask(tmp_path):
    mask = np.zeros((300, 400), np.uint8)
    mask[50:80, 100:140] = 1
    mask[200, 350] = 255
    for picture in (Image.fromarray(mask), Image.fromarray(mask > 0)):
        picture.save(tmp_path / "mask.png")
        found = region_of(case_of("film.png", mask=tmp_path / "mask.png"), SIZE)
        assert found == Box(100, 50, 351, 201)
    Image.fromarray(mask[:100]).save(tmp_path / "mask.png")
    with pytest.raises(RadiographError, match="another size"):
        region_of(case_of("film.png", mask=tmp_path / "mask.png"), SIZE)
    Image.fromarray(0 * mask).save(tmp_path / "mask.png")
    with pytest.raises(RadiographError, match="empty"):
        region_of(case_of("film.png", mask=tmp_path / "mask.png"), SIZE)
    (tmp_path / "mask.png").write_bytes(b"no")
    with pytest.raises(RadiographError, match="cannot be read"):
        region_of(case_of("film.png", mask=tmp_path / "mask.png"), SIZE)


def test_two_regions_are_refused(tmp_path):
    path = labelme(tmp_path / "film.json", [shape([[1, 1], [9, 9]])])
    with pytest.raises(RadiographError, match="two regions"):
        region_of(case_of("film.png", mask=path, box=(1, 1, 9, 9)), SIZE)
