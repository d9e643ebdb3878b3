"""Files of every kind, sound and damaged, against the arrays that they were written from."""

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLSLossless, RLELossless

from ctbone.dicom.decoder_pool import decode
from ctbone.errors import RadiographError
from ctbone.radiographs.read import MOST_PIXELS, read_radiograph, size_of
from tests.radiographs.pictures import case_of, ramp, write_dicom, write_png


def eight(grey):
    return np.rint(grey * 255).astype(np.uint8)


def sixteen(grey):
    return np.rint(grey * 65535).astype(np.uint16)


@pytest.mark.parametrize(
    ("name", "pixels", "tolerance"),
    [
        ("a.png", eight(ramp()), 0),
        ("a.png", sixteen(ramp()), 0),
        ("a.tif", eight(ramp()), 0),
        ("a.tiff", sixteen(ramp()), 0),
        ("a.jpg", eight(ramp()), 4 / 255),
    ],
)
def test_pictures_keep_their_grey_levels(tmp_path, name, pixels, tolerance):
    Image.fromarray(pixels).save(tmp_path / name)
    case = case_of(tmp_path / name)
    white = np.iinfo(pixels.dtype).max
    np.testing.assert_allclose(read_radiograph(case).grey, pixels / white, atol=tolerance + 1e-6)
    assert size_of(case) == (40, 30)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("signed", [0, 1])
def test_a_compressed_film_has_the_grey_of_the_plain_one(tmp_path, syntax, signed):
    values = np.rint(ramp() * 4095).astype(np.int16) - 2048 * signed
    path = write_dicom(tmp_path / "a.dcm", values, PixelRepresentation=signed)
    plain = read_radiograph(case_of(path)).grey
    np.testing.assert_allclose(plain, ramp(), atol=1 / 4095)
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax)
    dataset.save_as(path)
    for decoder in (decode, None):
        np.testing.assert_array_equal(read_radiograph(case_of(path), decoder).grey, plain)


@pytest.mark.parametrize("padding", [b"\0", b"\xff"])
def test_a_stream_may_be_padded(tmp_path, padding):
    path = write_dicom(tmp_path / "a.dcm", np.rint(ramp() * 4095))
    plain = read_radiograph(case_of(path)).grey
    dataset = pydicom.dcmread(path)
    dataset.compress(JPEGLSLossless)
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    stream = bytes(stream).rstrip(b"\0")
    dataset.PixelData = encapsulate([stream + padding * (2 - len(stream) % 2)])
    dataset.save_as(path)
    np.testing.assert_array_equal(read_radiograph(case_of(path), decode).grey, plain)


@pytest.mark.parametrize("pixels", [eight(ramp()), sixteen(ramp())])
def test_a_tiff_whose_white_is_zero_is_inverted(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    tag = b"\x06\x01\x03\x00\x01\x00\x00\x00"  # 262, one SHORT; its value follows
    assert content.count(tag + b"\1") == 1
    (tmp_path / "a.tif").write_bytes(content.replace(tag + b"\1", tag + b"\0"))
    shown = read_radiograph(case_of(tmp_path / "a.tif")).grey
    white = np.iinfo(pixels.dtype).max
    np.testing.assert_allclose(shown, 1 - pixels / white, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_and_its_size(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(eight(ramp())).save(tmp_path / "a.png", exif=exif)
    turned = [
        lambda a: a,
        np.fliplr,
        lambda a: a[::-1, ::-1],
        np.flipud,
        np.transpose,
        lambda a: np.rot90(a, -1),
        lambda a: a[::-1, ::-1].T,
        np.rot90,
    ][orientation - 1]
    case = case_of(tmp_path / "a.png")
    expected = turned(eight(ramp()) / 255)
    np.testing.assert_allclose(read_radiograph(case).grey, expected, atol=1e-6)
    assert size_of(case) == expected.shape[::-1]


def test_grey_stored_as_colour_is_grey_with_few_coloured_marks(tmp_path):
    colours = np.repeat(eight(ramp())[..., None], 3, axis=2)
    colours[:3, :3] = (255, 0, 0)
    Image.fromarray(colours).save(tmp_path / "a.png")
    shown = read_radiograph(case_of(tmp_path / "a.png")).grey
    np.testing.assert_allclose(shown[5:], (eight(ramp()) / 255)[5:], atol=1e-6)


def test_dicom_is_read_by_content_not_by_suffix(tmp_path):
    pixels = np.rint(ramp() * 4095).astype(np.uint16)
    write_dicom(tmp_path / "image", pixels, PatientOrientation=["L", "F"], PixelSpacing=[0.2, 0.1])
    image = read_radiograph(case_of(tmp_path / "image"))
    np.testing.assert_allclose(image.grey, pixels / 4095, atol=1e-6)
    assert (image.tall, image.orientation, image.format) == (2.0, ("L", "F"), "DICOM CR")


def test_one_frame_of_several_is_named(tmp_path):
    pixels = np.stack([np.full((4, 5), n) for n in (10, 20, 30)])
    path = write_dicom(tmp_path / "xa.dcm", pixels, modality="XA", frames=3)
    with pytest.raises(RadiographError, match="several frames"):
        read_radiograph(case_of(path))
    assert read_radiograph(case_of(path, frame=2)).grey[0, 0] == pytest.approx(20 / 4095)
    with pytest.raises(RadiographError, match="no such frame"):
        read_radiograph(case_of(path, frame=4))


def _animated(path):
    pages = [Image.fromarray(eight(ramp() * share)) for share in (0.5, 1)]
    pages[0].save(path, save_all=True, append_images=pages[1:], format="PNG")


def _bomb(path):
    """A PNG whose header claims 400 million pixels."""
    import struct
    import zlib

    chunk = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    parts = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, data, b"IEND")
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _colour(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)).save(path)


def _cut(path):
    write_png(path, np.random.default_rng(0).random((200, 200)))
    path.write_bytes(path.read_bytes()[:9000])


def _transparent(path):
    Image.fromarray(eight(ramp())).convert("RGBA").resize((40, 30)).save(path)
    picture = Image.open(path)
    picture.putpixel((1, 1), (5, 5, 5, 0))
    picture.save(path)


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (_animated, "animated"),
        (_bomb, "too large"),
        (_colour, "coloured"),
        (_cut, "damaged"),
        (_transparent, "transparent"),
        (lambda path: Image.new("1", (20, 20)).save(path), "one bit"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_text("a,b\n1,2\n"), "damaged"),
        (lambda path: Image.fromarray(eight(ramp())).save(path, "GIF"), "lost grey levels"),
        (lambda path: Image.fromarray(ramp().astype(np.float32)).save(path, "TIFF"), "coloured"),
    ],
)
def test_other_files_are_named_errors(tmp_path, write, problem):
    path = tmp_path / "a.png"
    write(path)
    with pytest.raises(RadiographError, match=problem) as caught:
        read_radiograph(case_of(path))
    assert caught.value.case == "R1"
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"modality": "CT"}, "not a projection radiograph"),
        ({"PhotometricInterpretation": "RGB"}, "coloured"),
        ({"BitsStored": 1, "bits": 1}, "bits"),
        ({"Rows": 60_000, "Columns": 60_000}, "too large"),
        ({"Rows": 300}, "damaged"),
    ],
)
def test_other_dicom_files_are_named_errors(tmp_path, tags, problem):
    path = write_dicom(tmp_path / "a.dcm", np.ones((20, 30)), **tags)
    with pytest.raises(RadiographError, match=problem):
        read_radiograph(case_of(path))


def test_the_limit_holds_the_largest_films():
    assert MOST_PIXELS > 60_000_000


def test_a_folder_holds_one_file(tmp_path):
    write_png(tmp_path / "a.png")
    assert read_radiograph(case_of(tmp_path)).format == "PNG"
    write_png(tmp_path / "b.png")
    with pytest.raises(RadiographError, match="exactly one"):
        read_radiograph(case_of(tmp_path))
    with pytest.raises(RadiographError, match="does not exist"):
        read_radiograph(case_of(tmp_path / "none.png"))
