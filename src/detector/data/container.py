"""Opens picture files with Pillow so that no bad file slips through and none does harm.

Pillow's plugins are used directly, not through Image.open: its size check and its warnings hang on
process-wide settings, and it would try every installed format (EPS starts Ghostscript). Pillow also
has a switch, ImageFile.LOAD_TRUNCATED_IMAGES, which any imported package may have set and which
makes it pad what is missing; nothing here depends on it or changes it.
"""

import io
import re
import struct
import zlib

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from detector.errors import UserError

# An MPO is opened as the JPEG that it begins with; ASCII PPM is left out (a Python loop per pixel).
_FORMATS = (
    (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    (re.compile(rb"RIFF.{4}WEBPVP8", re.S), WebPImagePlugin.WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    (re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImagePlugin.TiffImageFile),
    (re.compile(rb"P[456f]\s"), PpmImagePlugin.PpmImageFile),
    (re.compile(rb".{4}ftyp(avif|avis|mif1|msf1)", re.S), AvifImagePlugin.AvifImageFile),
)
_READABLE = "JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or binary PPM"
_FOREIGN = (
    (re.compile(rb"[^<]{,9}<(!doctype )?html", re.I), "a web page: get the picture itself"),
    (re.compile(rb"[^<]{,9}<.*svg", re.I | re.S), "an SVG drawing: export it as PNG"),
    (re.compile(rb"%PDF"), "a PDF document: export the picture as JPEG or PNG"),
    (re.compile(rb".{4}ftyphe", re.S), "HEIC: convert it to JPEG or PNG"),
)


class DecodeError(UserError):
    """The bytes are no picture that can be used; the message says why and what to do."""


def damaged(error: Exception) -> DecodeError:
    """Wraps whatever Pillow raised on a file in a DecodeError with a one-line message."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return DecodeError(
        f"the file is damaged, cut short or of an unsupported kind ({reason}): "
        "get it again, or save it anew as JPEG or PNG"
    )


def open_picture(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Opens the file with its plugin, header only; loading it then fails on any lack of data.

    The size is checked against `max_pixels` before anything of that size is allocated.

    Raises:
        DecodeError: If the file is empty, too large or not of a readable format.
        Exception: Whatever the plugin raises on a damaged header; see `damaged`.
    """
    if not data:
        raise DecodeError("the file is empty: get it again")
    plugin = next((plugin for magic, plugin in _FORMATS if magic.match(data)), None)
    if plugin is None:
        head = data[:1024]
        kind = next((text for magic, text in _FOREIGN if magic.match(head)), None)
        kind = kind or "not a picture that can be read: convert it to JPEG or PNG"
        raise DecodeError(f"{kind} (readable are {_READABLE})")
    # While these two are opened, Pillow may allocate a whole picture to draw animations on.
    if plugin is PngImagePlugin.PngImageFile:
        data = _plain_png(data)
    elif plugin is GifImagePlugin.GifImageFile:
        check_size(_gif_size(data), max_pixels)
    im = plugin(_File(data))
    check_size(im.size, max_pixels)
    if isinstance(im, TiffImagePlugin.TiffImageFile):
        check_size((im.tag_v2.get(322, 1), im.tag_v2.get(323, 1)), max_pixels)  # of one tile
        if im.use_load_libtiff:  # which is strict, and needs its tile as it is
            return im
    Image.DECODERS.setdefault("detector_strict", _StrictDecoder)
    im.tile = [_strict(tile) for tile in im.tile]
    return im


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuses a picture of (width, height) with none or more than `max_pixels` pixels.

    Raises:
        DecodeError: It is one.
    """
    if min(size) < 1:
        raise DecodeError(f"{size[0]} x {size[1]} pixels: there is no picture in it")
    if size[0] * size[1] > max_pixels:
        raise DecodeError(
            f"{size[0]} x {size[1]} pixels are more than the limit of {max_pixels}: "
            "shrink the picture or raise max_pixels"
        )


class _File(io.BytesIO):
    """A file whose end is an error, where Pillow might take it for the end of the picture."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data and size != 0:
            raise OSError("the data end too early")
        return data


class _StrictDecoder:
    """A Pillow decoder whose errors raise, whatever ImageFile.LOAD_TRUNCATED_IMAGES says."""

    def __init__(self, mode: str, codec: str, *args: object) -> None:
        self._decoder, self._lacking = Image._getdecoder(mode, codec, args), True

    def __getattr__(self, name: str) -> object:
        return getattr(self._decoder, name)

    def decode(self, data: bytes) -> tuple[int, int]:
        consumed, error = self._decoder.decode(data)
        # It wants no more, having all or having failed; one that reads by itself is called once.
        self._lacking = consumed >= 0 and error >= 0 and not self._decoder.pulls_fd
        if error < 0:
            raise OSError(ImageFile.ERRORS.get(error, f"decoder error {error}"))
        return consumed, error

    def cleanup(self) -> None:
        self._decoder.cleanup()
        # An AVIF file may be whole and its frame too small: Pillow reads that from no `_File`.
        if self._lacking:
            raise OSError("the data end too early")


def _strict(tile: ImageFile._Tile) -> ImageFile._Tile:
    args = tile.args if isinstance(tile.args, tuple) else (tile.args,) if tile.args else ()
    return tile._replace(codec_name="detector_strict", args=(tile.codec_name, *args))


def _plain_png(data: bytes) -> bytes:
    """Returns the PNG with its still picture and its EXIF alone, all checksums verified.

    Left out are animation, and text and profiles (compressed; Pillow refuses a picture for more
    than 1 MB of them). EXIF goes to the front, where a header read finds it.
    """
    chunks: dict[bytes, list[bytes]] = {b"PLTE": [], b"tRNS": [], b"eXIf": [], b"IDAT": []}
    at = 8
    while b"IEND" not in chunks:
        if at + 8 > len(data):
            raise OSError("the PNG has no end")
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        # Of those that are left out too: an altered one may have been one of the others.
        if len(chunk) < 12 + length or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise OSError(f"PNG chunk {kind!r} is incomplete or altered")
        if kind in chunks or kind in (b"IHDR", b"IEND"):
            chunks.setdefault(kind, []).append(chunk)
        at += len(chunk)
    if len(chunks.get(b"IHDR", ())) != 1:
        raise OSError("PNG without a single header")
    once = [chunk for kind in (b"PLTE", b"tRNS", b"eXIf") for chunk in chunks[kind][:1]]
    return b"".join([data[:8], *chunks[b"IHDR"], *once, *chunks[b"IDAT"], *chunks[b"IEND"]])


def _gif_size(data: bytes) -> tuple[int, int]:
    """Size of a GIF's canvas, enlarged where the first frame exceeds it, as Pillow does."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    while data[at] == 0x21:  # an extension: label, then blocks with their length in front
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    separator, x, y, w, h = struct.unpack_from("<BHHHH", data, at)
    if separator != 0x2C:
        raise OSError("GIF without a picture")
    return max(width, x + w), max(height, y + h)
