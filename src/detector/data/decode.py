"""From the bytes of a picture to RGB pixels: the one place where a file is decoded.

Everything that decides what a file looks like is settled here, so that training, evaluation and
prediction see the same pixels. Rules where formats leave a choice:

- Several pictures in one file (GIF, WebP, APNG, AVIF, TIFF, MPO): the first one.
- Transparency is composed over white, as a web page or a viewer shows it and as editors do when
  they save a transparent picture as JPEG, the form in which nearly all training files come.
- 16-bit samples keep their high byte, as Pillow does for 16-bit colour. That is exact for 8-bit
  pictures that were widened, by either convention (v * 257 or v << 8). 12-bit TIFF likewise.
- 32-bit integer grey must lie in 0..65535, Pillow's own convention for mode I, and is treated as
  16-bit; other values have no agreed range and are refused rather than guessed.
- Float grey is in 0..1, or in 0..255 where it exceeds 1.5; overshoot up to half a range is clipped,
  anything beyond, and NaN, is refused.
- EXIF orientation is applied; an unreadable EXIF block is ignored, as viewers do.
- ICC profiles and PNG gamma are ignored: training files carry none, and a colour shift that depends
  on a tag would be a difference between files, not between faces.
- A JPEG without its end marker is cut short, even if only the marker is missing: libjpeg cannot
  tell. Not noticed: a stream that is damaged but ends properly (libjpeg fills gaps silently).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffImagePlugin

from detector.data.container import DecodeError, check_size, damaged, open_picture

__all__ = ["DecodeError", "Header", "decode", "decode_image", "quantization_id", "read_header"]

# The bound of read_header, which has no limit of its own: Pillow's default for refusing a file.
_HEADER_PIXELS = 178_956_970
_WHITE = (255, 255, 255)
_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SUBSAMPLING = {
    (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a file says about its (first) picture before any pixel is decoded.

    Attributes:
        format: Pillow's name of the format: JPEG, PNG, WEBP, AVIF, GIF, BMP, TIFF or PPM.
        mode: Pillow's mode of the stored pixels, such as RGB, L, CMYK or I;16.
        width: Width in pixels as stored, before the orientation is applied.
        height: Height in pixels as stored.
        orientation: EXIF orientation, 1 to 8; 1 if there is none.
        quantization: JPEG quantization tables by table number, each 64 integers in natural
            (row by row) order; empty for other formats.
        subsampling: JPEG chroma subsampling such as "4:2:0"; "" unless three components.
        has_exif: Whether the file carries an EXIF block.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    quantization: tuple[tuple[int, ...], ...]
    subsampling: str
    has_exif: bool


def decode(data: bytes, *, max_pixels: int) -> np.ndarray:
    """Decodes a picture; safe to call from several threads.

    Args:
        data: The whole file.
        max_pixels: Largest width times height; checked before anything of that size is allocated.

    Returns:
        uint8 array (H, W, 3), RGB in 0..255, contiguous, writable, upright.

    Raises:
        DecodeError: If the bytes are not a complete picture of a readable format, or too large.
    """
    try:
        return _upright(open_picture(data, max_pixels))
    except DecodeError:
        raise
    except Exception as error:  # Pillow lets out some fifteen types, MemoryError among them
        raise damaged(error) from error


def decode_image(im: Image.Image, *, max_pixels: int) -> np.ndarray:
    """What `decode` makes of a file, of a picture that Pillow has opened or made.

    It is loaded where that has not happened, and left as it is. How strict Pillow is with a damaged
    file is then Pillow's own matter: `decode` of the bytes is stricter.

    Args:
        im: In any mode; of several frames the one it stands at.
        max_pixels: As for `decode`.

    Returns:
        As `decode`.

    Raises:
        DecodeError: It cannot be loaded, is too large or has no pixels.
    """
    try:
        check_size(im.size, max_pixels)
        return _upright(im)
    except DecodeError:
        raise
    except Exception as error:
        raise damaged(error) from error


def read_header(data: bytes) -> Header:
    """Reads what a file says about itself, without decoding pixels.

    Args:
        data: The file; for JPEG everything up to the first scan is enough.

    Raises:
        DecodeError: If no picture of a readable format begins here, or if it claims more than
            179 million pixels.
    """
    try:
        im = open_picture(data, _HEADER_PIXELS)
        width, height = im.size
        exif = "exif" in im.info
        if isinstance(im, TiffImagePlugin.TiffImageFile):
            # Pillow reports the size of an upright TIFF, but as stored that of all others.
            width, height = im.tag_v2[256], im.tag_v2[257]
            exif = _EXIF_IFD in im.tag_v2
        tables = getattr(im, "quantization", {})
        return Header(
            format=im.format,
            mode=im.mode,
            width=width,
            height=height,
            orientation=_orientation(im),
            quantization=tuple(tuple(tables[i]) for i in sorted(tables)),
            subsampling=_subsampling(getattr(im, "layer", [])),
            has_exif=exif,
        )
    except DecodeError:
        raise
    except Exception as error:
        raise damaged(error) from error


def quantization_id(tables: Iterable[Sequence[int]]) -> str:
    """Names a set of quantization tables by 12 hex digits, "" if there are none.

    Equal tables in equal order have equal names on any machine and in any version.
    """
    text = ";".join(",".join(str(int(v)) for v in table) for table in tables)
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""


def _upright(im: Image.Image) -> np.ndarray:
    im.load()
    rgb = _to_rgb(im)
    method = _TRANSPOSE.get(_orientation(im))
    return np.array(rgb if method is None else rgb.transpose(method))


def _orientation(im: Image.Image) -> int:
    try:
        # The base class, because for PNG the override decodes the pixels. A TIFF that is loaded
        # has been turned by Pillow already and reports 1.
        value = Image.Image.getexif(im).get(_ORIENTATION)
        return int(value) if value in _TRANSPOSE else 1
    except Exception:
        return 1


def _subsampling(layers: list[tuple[int, int, int, int]]) -> str:
    """Names J:a:b from (component, horizontal, vertical, table) of each component."""
    if len(layers) != 3 or layers[1][1:3] != layers[2][1:3]:
        return ""
    (_, h, v, _), (_, ch, cv, _), _ = layers
    ratio = (h / ch, v / cv) if ch and cv else (0, 0)
    return _SUBSAMPLING.get(ratio, f"{h}x{v}:{ch}x{cv}")


def _to_rgb(im: Image.Image) -> Image.Image:
    if im.mode[0] in "IF":
        im = _to_grey8(im)
    if im.has_transparency_data:
        rgba = im.convert("RGBA")
        im = Image.new("RGB", im.size, _WHITE)
        im.paste(rgba, mask=rgba)
    return im if im.mode == "RGB" else im.convert("RGB")


def _to_grey8(im: Image.Image) -> Image.Image:
    """Reduces grey of more than 8 bits (modes I, I;16 and kin, F) by the rules of the module."""
    tags = getattr(im, "tag_v2", {})
    values = np.asarray(im)
    low, high = values.min().item(), values.max().item()
    if im.mode == "F":
        top = next((t for t in (1, 255) if -t / 2 <= low and high <= 1.5 * t), None)
        if top is None:  # also where low and high are NaN
            raise DecodeError(f"float samples run from {low:g} to {high:g}: scale them to 0..1")
        grey = np.rint(np.clip(values, 0, top) * (255 / top)).astype(np.uint8)
    else:
        stored = tags.get(258, (16,))[0]
        signed = im.mode == "I" and tags and stored == 16
        bits = 15 if signed else min(stored, 16)
        if low < 0 or high >> bits:
            raise DecodeError(
                f"integer samples run from {low} to {high}: save the picture with 8 or 16 bits"
            )
        grey = (values >> (bits - 8)).astype(np.uint8)
    if tags.get(262) == 0:  # TIFF's WhiteIsZero, which Pillow heeds up to 8 bits only
        grey = 255 - grey
    if "transparency" in im.info:
        grey[values == im.info["transparency"]] = 255
    return Image.fromarray(grey)
