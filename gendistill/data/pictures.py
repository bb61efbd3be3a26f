"""One picture file as pixels: upright, opaque, 8 bits, grey or colour. What would get lost is said or refused.

docs/data.md has a table of what is done with each kind of file.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, UnidentifiedImageError
from PIL.PpmImagePlugin import PpmImageFile

from gendistill import budget
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.regular import read_bytes
from gendistill.spelling import option

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is decoded, whatever the name of the file says; nothing else is tried, above all no PostScript."""

WHITE = (255, 255, 255)
GREY_MODES = ("1", "L", "LA", "La")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
PLAIN_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
FAINT = 1 / 16
"""Pictures of more than 8 bits whose brightest value is below this share of the range keep fewer than 16 levels."""

BYTES, DEEP_BYTES = 4, 32
"""What a pixel takes at most while it is read: with 8 bits a channel, and with more, which are scaled as fractions."""

PNG_COLOUR, GREY_WITH_ALPHA, COLOUR_WITH_ALPHA = 25, 4, 6
"""Where a PNG says which channels it has, and two of the answers."""

ORIENTATION, BITS, INTERPRETATION, SIGN = 0x0112, 258, 262, 339
"""Tags of EXIF and TIFF."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED_BY = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp", "XML:com.adobe.xmp\x00")
SRGB = (b"sRGB", "sRGB".encode("utf-16-be"))

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Blob:
    """A picture that lies in another file.

    Attributes:
        name: What to call it in a sentence.
        content: Its bytes.
    """

    name: str
    content: bytes


Source = Path | Blob


@dataclass
class Findings:
    """What was met in the pictures that were read.

    Attributes:
        grey: Pictures that are stored without colour.
        transparent: Pictures with pixels that let the background through.
        turned: Pictures that were turned or mirrored, as they say themselves.
        deep: Pictures of more than 8 bits a channel.
        brightest: Their largest value as a share of the range.
        profiles: Pictures with a colour profile other than sRGB.
        followed: JPEG files with further pictures behind the first.
        advised: Whether sentences name the options, which a teacher's pictures do not have.
    """

    grey: int = 0
    transparent: int = 0
    turned: int = 0
    deep: int = 0
    brightest: float = 0.0
    profiles: int = 0
    followed: int = 0
    advised: bool = True

    def sentences(self, background: Colour = WHITE) -> list[str]:
        """Return what a person should know of how the pictures were read."""
        advice = f" ({option('background')})" if self.advised else ""
        said = (
            (self.transparent, f"transparent, laid on {colour_name(background)}{advice}"),
            (self.turned, "turned or mirrored as their EXIF says"),
            (
                self.deep,
                f"of more than 8 bits a channel, the whole range scaled to 8 (brightest: {self.brightest:.0%})",
            ),
            (self.profiles, "with a colour profile other than sRGB, which is not applied"),
            (self.followed, "JPEG with more pictures behind the first (a preview, a gain map), which are passed over"),
        )
        return [f"{count:,} {how}" for count, how in said if count]

    def check(self) -> None:
        """Refuse pictures of more than 8 bits of which 8 bits would keep next to nothing.

        Raises:
            UserError: Their brightest value is less than a sixteenth of the range.
        """
        if self.deep and self.brightest < FAINT:
            raise UserError(
                f"pictures of more than 8 bits a channel ({self.deep:,}) reach only {self.brightest:.2%} of their "
                "range, of which 8 bits would keep fewer than 16 levels; multiply their values to use the whole range, "
                "or save them with 8 bits"
            )


def read_picture(source: Source, background: Colour = WHITE, findings: Findings | None = None) -> Image.Image:
    """Read one picture.

    Args:
        source: The file. Its first bytes say what it is; what its name ends in does not matter.
        background: What transparent pixels let through.
        findings: Is told what was met.

    Returns:
        The picture in Pillow's mode ``L`` (stored without colour) or ``RGB``.

    Raises:
        UserError: It cannot be read, or not without losing what is in it.
    """
    name = readable(str(source) if isinstance(source, Path) else source.name)
    findings = Findings() if findings is None else findings
    try:
        content = read_bytes(source) if isinstance(source, Path) else source.content
        if not content:
            raise UserError(f"'{name}' is empty (0 bytes); replace or delete it")
        with _any_size(), Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            _refuse_giants(opened, content, name)
            _refuse_frames(opened, name, findings)
            tagged = _tags(opened).get(ORIENTATION, 1)
            image = _eight_bits(opened, content, name, findings)
            image = _opaque(image, name, background, findings)
            if "icc_profile" in opened.info and not any(word in opened.info["icc_profile"] for word in SRGB):
                findings.profiles += 1
            return _upright(image, opened, tagged, findings)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(
            f"'{name}' cannot be read as an image (it is none of {', '.join(FORMATS)}); replace or delete it"
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"'{name}' cannot be read as an image ({reason}); replace or delete it") from error
    except Exception as error:  # the decoders meet damaged files with errors of every kind
        reason = str(error) or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
        raise UserError(f"'{name}' cannot be read as an image ({reason}); replace or delete it") from error


@contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow open pictures of any size: its own bound knows neither the file's size nor the option to raise it."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _refuse_giants(opened: Image.Image, content: bytes, name: str) -> None:
    """Refuse a picture, of which only the head was read, that would be larger than a file of its size may be."""
    deep = opened.mode in DEEP_MODES or (opened.format == "PNG" and content[24:25] == b"\x10")
    needed = opened.width * opened.height * (DEEP_BYTES if deep else BYTES)
    budget.check(needed, len(content), f"'{name}' of {opened.width:,}x{opened.height:,} pixels")


def _refuse_frames(opened: Image.Image, name: str, findings: Findings) -> None:
    if opened.format == "MPO":
        findings.followed += 1
    elif (frames := getattr(opened, "n_frames", 1)) > 1:
        raise UserError(
            f"'{name}' holds {frames} pictures (an animation or pages), of which one alone would be read; save each as "
            "a file of its own, or the one that counts"
        )


def _eight_bits(opened: Image.Image, content: bytes, name: str, findings: Findings) -> Image.Image:
    """Return the picture with 8 bits a channel: in a plain mode, or in L, LA, RGB or RGBA."""
    tags = _tags(opened)
    if opened.format == "PNG" and content[24] == 16:
        return _deep_png(opened, content, findings)
    if 2 in _several(tags.get(SIGN)):
        raise UserError(f"'{name}' holds signed numbers, whose black and white are not known; save it with 8 bits")
    if opened.mode in DEEP_MODES:
        return _deep(opened, name, findings)
    if max(_several(tags.get(BITS)), default=8) > 8:
        raise UserError(f"'{name}' is a TIFF in colour of more than 8 bits a channel; save it as PNG, or with 8 bits")
    if opened.mode not in (*PLAIN_MODES, *ALPHA_MODES):
        raise UserError(f"'{name}' is stored in the colours {opened.mode}, which are not read; save it as RGB")
    if opened.format == "PNG" and opened.mode == "L" and "transparency" in opened.info:
        # Pillow spreads 2 and 4 bits over 0..255, but not the grey level that is transparent.
        opened.info["transparency"] *= 255 // (2 ** content[24] - 1)
    if isinstance(opened, PpmImageFile) and opened.mode == "RGB" and _several(opened.tile[0].args)[-1:] > (255,):
        # Scaled rightly by Pillow, which reads the largest value in the file's head.
        findings.deep += 1
        findings.brightest = max(findings.brightest, float(np.asarray(opened).max()) / 255)
    return opened


def _tags(opened: Image.Image) -> Mapping[int, object]:
    """Return the tags of a TIFF; nothing of other files."""
    return getattr(opened, "tag_v2", {})


def _several(value: object) -> tuple[int, ...]:
    """Return the whole numbers in a tag's value."""
    values = value if isinstance(value, tuple) else (value,)
    return tuple(number for number in values if isinstance(number, int))


def _deep_png(opened: Image.Image, content: bytes, findings: Findings) -> Image.Image:
    """Decode a PNG of 16 bits a channel, of which Pillow would keep the upper 8.

    Pillow is asked twice, for the upper and for the lower ones. torchvision's decoder reads all 16, but damaged files
    end the process in it.
    """
    if opened.mode == "I;16":
        values = np.asarray(opened).astype(np.uint16)[..., None]
    elif content[PNG_COLOUR] == GREY_WITH_ALPHA:
        # Of two channels of 16 bits Pillow has no lower ones; to it they are four of 8.
        head = content[12:24] + bytes([8, COLOUR_WITH_ALPHA]) + content[26:29]
        four = _pixels_as(content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:], "RGBA")
        values = four[..., ::2].astype(np.uint16) * 256 + four[..., 1::2]
    else:
        upper, lower = (_pixels_as(content, f"{opened.mode};16{end}") for end in "BL")
        values = upper.astype(np.uint16) * 256 + lower
    key = opened.info.get("transparency")
    if key is not None:
        seen = (values != np.asarray(key, dtype=np.uint16)).any(2, keepdims=True)
        values = np.concatenate([values, np.where(seen, 65535, 0).astype(np.uint16)], 2)
    return _scaled(values, 65535, findings, colours=1 if values.shape[2] < 3 else 3)


def _pixels_as(content: bytes, order: str) -> np.ndarray:
    """Return the channels (H, W, C) of a PNG, read in this order of Pillow's, such as ``RGB;16L``."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
        opened.tile = [tile._replace(args=order) for tile in opened.tile]
        return np.array(opened)


def _deep(opened: Image.Image, name: str, findings: Findings) -> Image.Image:
    """Scale a grey picture of 16 bits or of fractions."""
    values = np.asarray(opened)
    if opened.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise UserError(
                f"'{name}' holds fractions of {values.min():g} to {values.max():g}, whose black and white are not "
                "known; bring them to 0..1, or save it with 8 bits"
            )
        return _scaled(values[..., None], 1, findings)
    if opened.format == "TIFF":
        if opened.mode == "I":
            raise UserError(f"'{name}' has 32 bits, whose white is not known; save it with 16 or 8 bits")
        tags = _tags(opened)
        highest = 2 ** _several(tags.get(BITS))[0] - 1
        values = highest - values if tags.get(INTERPRETATION) == 0 else values  # 0: the smallest number is white
        return _scaled(values[..., None], highest, findings)
    return _scaled(values[..., None], 65535, findings)


def _scaled(values: np.ndarray, highest: int, findings: Findings, colours: int = 1) -> Image.Image:
    """Return values (H, W, C) in 0..highest as a picture in L, LA, RGB or RGBA."""
    findings.deep += 1
    findings.brightest = max(findings.brightest, float(values[..., :colours].max()) / highest)
    levels = np.rint(values.astype(np.float32) * (255 / highest)).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _opaque(image: Image.Image, name: str, background: Colour, findings: Findings) -> Image.Image:
    """Return the picture in L or RGB, on the background where it is transparent."""
    grey = image.mode in GREY_MODES
    findings.grey += grey
    palette = image.palette if image.mode in ("P", "PA") else None
    if image.mode in ALPHA_MODES or "transparency" in image.info or (palette and palette.mode == "RGBA"):
        full = image.convert("RGBA")
        image, alpha = full.convert("RGB"), full.getchannel("A")
        lowest, highest = alpha.getextrema()
        if lowest != 255:
            findings.transparent += 1
            canvas = Image.new("RGB", image.size, background)
            canvas.paste(image, mask=alpha)
            if highest == 0:
                raise UserError(f"'{name}' is transparent everywhere; delete it, or save it without transparency")
            if canvas.getextrema() == tuple((level, level) for level in background):
                way_out = f"choose another colour with {option('background')}, such as {_opposite(background)}"
                raise UserError(
                    f"nothing of '{name}' is seen on {colour_name(background)}, which its transparent pixels let "
                    f"through; {way_out if findings.advised else 'save it without transparency'}"
                )
            image = canvas
        grey = grey and len(set(background)) == 1
        return image.getchannel("R") if grey else image
    wanted = "L" if grey else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _upright(image: Image.Image, opened: Image.Image, tagged: object, findings: Findings) -> Image.Image:
    """Turn and mirror a picture as its EXIF, or the tag of a TIFF, says."""
    image.load()
    if opened.format == "TIFF":
        findings.turned += tagged in TURNS
        # Newer versions of Pillow have done it by now, and have taken the tag away.
        wanted = _tags(opened).get(ORIENTATION, 1)
    elif any(key in opened.info for key in TURNED_BY):
        try:
            wanted = opened.getexif().get(ORIENTATION, 1)
        except Exception:  # damaged notes beside a whole picture, of which viewers take no notice either
            return image
        findings.turned += wanted in TURNS
    else:
        return image
    return image.transpose(TURNS[wanted]) if wanted in TURNS else image


def middle(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale a picture (bicubic) until it just covers (height, width) in pixels, and cut out the middle.

    Raises:
        UserError: It is so much longer than wide that all of it, scaled, would take more than the middle can account
            for; or this machine has not the memory.
    """
    height, width = size
    if image.size == (width, height):
        return image
    scale = max(width / image.width, height / image.height)
    columns, rows = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    budget.check(
        BYTES * columns * rows,
        BYTES * max(width * height, image.width * image.height),
        f"a picture of {image.width:,}x{image.height:,} pixels, brought to cover {width:,}x{height:,},",
    )
    image = image.resize((columns, rows), Image.Resampling.BICUBIC)
    left, top = (columns - width) // 2, (rows - height) // 2
    return image.crop((left, top, left + width, top + height))


def pixels(image: Image.Image) -> np.ndarray:
    """Return a picture in L or RGB as (1, H, W) or (3, H, W) uint8, a view."""
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def colour(text: str) -> Colour:
    """Read a colour: a name such as ``white``, or ``#rrggbb``.

    Raises:
        UserError: It is no colour.
    """
    try:
        found = ImageColor.getrgb(text)
    except (ValueError, AttributeError) as error:
        raise UserError(f"{option('background')} is '{text}'; give a colour such as white, black or #8040ff") from error
    return (found[0], found[1], found[2])


def colour_name(background: Colour) -> str:
    """Return what to call a colour."""
    return {WHITE: "white", (0, 0, 0): "black"}.get(background, "#{:02x}{:02x}{:02x}".format(*background))


def _opposite(background: Colour) -> str:
    return "black" if sum(background) > 382 else "white"
