from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pictures import chunk, png, tiff
from PIL import Image

from gendistill.data import load
from gendistill.data.pictures import Blob, Findings, colour, read_picture
from gendistill.errors import UserError
from gendistill.spelling import of_command, written

DRAWN = np.random.default_rng(0).integers(0, 65536, (3, 4, 4))


def read(content: bytes | Path, **options: object) -> tuple[np.ndarray, Findings]:
    findings = Findings()
    source = content if isinstance(content, Path) else Blob("x", content)
    return np.asarray(read_picture(source, findings=findings, **options)), findings  # type: ignore[arg-type]


def saved(image: Image.Image, kind: str, folder: Path, **options: object) -> Path:
    path = folder / f"picture.{kind}"
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_become_the_nearest_of_eight(colour_type: int, channels: int) -> None:
    values = DRAWN[..., :channels].copy()
    if channels in (2, 4):
        values[..., -1] = 65535
    found, findings = read(png(values, 16, colour_type))
    colours = 1 if channels < 3 else 3
    np.testing.assert_array_equal(found.reshape(3, 4, -1), np.rint(values[..., :colours] / 257))
    assert findings.deep == 1 and findings.brightest == values[..., :colours].max() / 65535


def test_sixteen_bits_of_other_formats(tmp_path: Path) -> None:
    grey = (np.arange(6).reshape(2, 3) * 13107).astype(np.uint16)
    for kind, options in (("tiff", {}), ("tif", {"compression": "tiff_deflate"}), ("pgm", {}), ("png", {})):
        found, findings = read(saved(Image.fromarray(grey), kind, tmp_path, **options))
        assert found.tolist() == [[0, 51, 102], [153, 204, 255]] and findings.deep == 1
    # 0 in the tag of interpretation: the smallest number is white.
    assert read(tiff(grey, {262: (3, 0)}))[0].tolist() == [[255, 204, 153], [102, 51, 0]]
    big = struct.pack(">3H", 0, 2048, 4095)
    assert read(b"P5\n3 1\n4095\n" + big)[0].tolist() == [[0, 128, 255]]
    assert read(b"P6\n1 1\n4095\n" + big)[0].tolist() == [[[0, 128, 255]]]
    assert read(b"P2\n3 1\n4095\n0 2048 4095\n")[0].tolist() == [[0, 128, 255]]
    assert read(b"P3\n1 1\n1023\n0 512 1023\n")[1].deep == 1
    assert read(b"P5\n3 1\n100\n" + bytes([0, 50, 100]))[0].tolist() == [[0, 128, 255]]
    fractions = np.array([[0, 0.5, 1]], dtype=np.float32)
    assert read(saved(Image.fromarray(fractions), "tiff", tmp_path))[0].tolist() == [[0, 128, 255]]


def test_what_has_no_known_white_is_refused(tmp_path: Path) -> None:
    for values, said in (
        (np.array([[0, 0.5, 200]], dtype=np.float32), "fractions of 0 to 200"),
        (np.array([[0, np.nan]], dtype=np.float32), "fractions of nan"),
        (np.array([[0, 70000]], dtype=np.int32), "signed numbers"),
    ):
        with pytest.raises(UserError, match=said):
            read(saved(Image.fromarray(values), "tiff", tmp_path))
    for tags, values, said in (
        ({}, np.array([[0, 70000]], dtype=np.uint32), "32 bits, whose white is not known"),
        ({339: (3, 2)}, np.array([[0, 7]], dtype=np.int16), "signed numbers"),
        ({339: (3, 2)}, np.array([[0, 7]], dtype=np.int8), "signed numbers"),
    ):
        with pytest.raises(UserError, match=said):
            read(tiff(values, tags))
    with pytest.raises(UserError, match="colours LAB, which are not read"):
        read(saved(Image.new("LAB", (2, 1), (100, 0, 0)), "tiff", tmp_path))
    colours = np.arange(12, dtype=np.uint16).reshape(2, 6)  # 2x2 RGB of 16 bits
    bits = 8 + 24
    head = tiff(colours, {256: (4, 2), 258: (3, 16), 262: (3, 2), 277: (3, 3)})
    three = head[:bits] + struct.pack("<3H", 16, 16, 16) + head[bits:]
    start = struct.unpack("<I", head[4:8])[0] + 6
    entry = three.index(struct.pack("<HHI", 258, 3, 1), start - 6)
    three = (
        three[:4]
        + struct.pack("<I", start)
        + three[8:entry]
        + struct.pack("<HHII", 258, 3, 3, bits)
        + three[entry + 12 :]
    )
    with pytest.raises(UserError, match="TIFF in colour of more than 8 bits"):
        read(three)


def test_twelve_bits_in_sixteen_are_refused_for_a_folder(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(5):
            values = np.full((4, 4), 800 * number, dtype=np.uint16)
            Image.fromarray(values).save(tmp_path / label / f"{number}.png")
    with pytest.raises(
        UserError, match=r"pictures of more than 8 bits a channel \(10\) reach only 4.88% of their range"
    ):
        load(str(tmp_path))


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_transparent_pixels_let_the_background_through(kind: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 128))
    image.putpixel((0, 0), (0, 0, 255, 255))
    image.putpixel((1, 0), (0, 0, 255, 0))
    path = saved(image, kind, tmp_path, **({"lossless": True} if kind == "webp" else {}))
    found, findings = read(path)
    assert found.tolist() == [[[0, 0, 255], [255, 255, 255], [255, 127, 127]]] and findings.transparent == 1
    assert read(path, background=(0, 0, 0))[0].tolist() == [[[0, 0, 255], [0, 0, 0], [128, 0, 0]]]
    image.putalpha(255)
    assert read(saved(image, kind, tmp_path))[1].transparent == 0


def test_every_other_way_of_transparency(tmp_path: Path) -> None:
    assert read(saved(Image.new("LA", (2, 1), (0, 128)), "png", tmp_path))[0].tolist() == [[127, 127]]
    palette = Image.new("P", (3, 1), 0)
    palette.putpalette([0, 0, 0, 10, 20, 30, 200, 200, 200])
    palette.putpixel((1, 0), 1)
    palette.putpixel((2, 0), 2)
    for kind, key, first, second in (
        ("png", 1, [0, 0, 0], [255, 255, 255]),
        ("gif", 1, [0, 0, 0], [255, 255, 255]),
        ("png", b"\x00\x80\xff", [255, 255, 255], [132, 137, 142]),
    ):
        found, findings = read(saved(palette, kind, tmp_path, transparency=key))
        assert found.tolist() == [[first, second, [200, 200, 200]]] and findings.transparent == 1
    # One grey level, or one colour, that is transparent, at each number of bits.
    for depth in (1, 2, 4, 8, 16):
        levels = np.arange(2 if depth == 1 else 4)[None, :, None]
        found, _ = read(png(levels, depth, 0, chunk(b"tRNS", struct.pack(">H", 1))))
        spread = np.rint(levels * 255 / (2**depth - 1)).flatten()
        assert found[0].tolist() == [*spread[:1], 255, *spread[2:]]
    for depth in (8, 16):
        values = DRAWN[..., :3] % 2**depth
        key = struct.pack(">HHH", *map(int, values[0, 1]))
        found, _ = read(png(values, depth, 2, chunk(b"tRNS", key)))
        expected = np.rint(values * 255 / (2**depth - 1))
        expected[0, 1] = 255
        np.testing.assert_array_equal(found, expected)


def test_a_picture_of_which_nothing_would_be_seen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="transparent everywhere"):
        read(saved(Image.new("RGBA", (2, 2), (7, 7, 9, 0)), "png", tmp_path))
    white = saved(Image.new("RGBA", (2, 2), (255, 255, 255, 100)), "png", tmp_path)
    with written(of_command), pytest.raises(UserError, match="choose another colour with --background, such as black"):
        read(white)
    assert read(white, background=colour("black"))[0].tolist() == [[[100] * 3] * 2] * 2
    with pytest.raises(UserError, match="give a colour such as white"):
        colour("blanc cassé")
    assert colour("#8040ff") == (128, 64, 255)


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff", "webp"])
def test_pictures_are_turned_as_they_say(kind: str, tmp_path: Path) -> None:
    # In 16x16 squares, so that JPEG keeps them.
    squares = np.array([[0, 50, 100], [150, 200, 250]], dtype=np.uint8)
    image = Image.fromarray(squares.repeat(16, 0).repeat(16, 1))
    turned = [
        squares,
        squares[:, ::-1],
        squares[::-1, ::-1],
        squares[::-1],
        squares.T,
        np.rot90(squares, -1),
        squares[::-1, ::-1].T,
        np.rot90(squares),
    ]
    for orientation, expected in enumerate(turned, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = saved(image, kind, tmp_path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
        found, findings = read(path)
        centres = (found[..., 0] if found.ndim == 3 else found)[8::16, 8::16]
        np.testing.assert_allclose(centres, expected, atol=2)
        assert findings.turned == (orientation > 1)


@pytest.mark.parametrize("kind", ["gif", "png", "tiff", "webp"])
def test_further_frames_are_refused(kind: str, tmp_path: Path) -> None:
    first, second = Image.new("RGB", (2, 2), 1), Image.new("RGB", (2, 2), 200)
    with pytest.raises(UserError, match="holds 2 pictures"):
        read(saved(first, kind, tmp_path, save_all=True, append_images=[second]))
    assert read(saved(first, kind, tmp_path, save_all=True))[0].shape == (2, 2, 3)


def test_the_first_picture_of_a_camera_is_read_and_the_others_are_said(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), (0, 0, 200)), Image.new("RGB", (8, 8), 200)
    found, findings = read(saved(first, "mpo", tmp_path, save_all=True, append_images=[second]))
    assert found[0, 0, 2] > 190 and findings.followed == 1
    assert findings.sentences() == [
        "1 JPEG with more pictures behind the first (a preview, a gain map), which are passed over"
    ]


def test_other_colours(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for kind in ("jpg", "tiff"):
        assert read(saved(cyan, kind, tmp_path))[0][0, 0].tolist() == [0, 255, 255]
    green = Image.new("RGB", (8, 8), (0, 200, 0)).convert("YCbCr")
    for kind in ("jpg", "tiff"):
        np.testing.assert_allclose(read(saved(green, kind, tmp_path))[0][0, 0], [0, 200, 0], atol=3)
    assert read(saved(Image.new("1", (2, 1), 1), "png", tmp_path))[0].tolist() == [[255, 255]]
    profiled = saved(Image.new("RGB", (2, 2)), "png", tmp_path, icc_profile=b"Adobe RGB" * 9)
    assert "1 with a colour profile other than sRGB" in read(profiled)[1].sentences()[0]


def test_only_the_named_formats_are_decoded_whatever_the_name_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 2), (1, 2, 3))
    image.save(tmp_path / "lie.jpg", format="PNG")
    assert read(tmp_path / "lie.jpg")[0][0, 0].tolist() == [1, 2, 3]
    for kind in ("eps", "ico", "jp2", "pcx", "sgi", "tga"):
        path = saved(image, kind, tmp_path)
        with pytest.raises(UserError, match="it is none of PNG, JPEG"):
            read(path.rename(tmp_path / "lie.png"))
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty \(0 bytes\)"):
        read(tmp_path / "empty.png")
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "gone.png")
    named = os.fsdecode(bytes(tmp_path / "caf") + b"\xe9.png")
    Path(named).write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"caf\\xe9.png' cannot be read") as refused:
        read(Path(named))
    str(refused.value).encode()


NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "gif", "tiff", "webp", "ppm"])
def test_a_file_that_was_cut_short_is_refused(kind: str, tmp_path: Path) -> None:
    content = saved(NOISE, kind, tmp_path).read_bytes()
    for share in (0.02, 0.3, 0.9, 0.98):
        with pytest.raises(UserError) as refused:
            read(content[: int(len(content) * share)])
        assert "\n" not in str(refused.value)


KINDS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "PPM", "BMP")
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), CHANGES)
def test_damage_is_one_sentence_or_a_picture(kind: str, changes: list[tuple[float, int]]) -> None:
    buffer = io.BytesIO()
    NOISE.save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for where, value in changes:
        content[int(where * (len(content) - 1))] = value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, _ = read(bytes(content))
        assert found.dtype == np.uint8 and found.ndim in (2, 3)
    except UserError:
        pass
