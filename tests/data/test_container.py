"""Bad files: cut, altered, foreign, empty, enormous. Nothing but DecodeError may come out."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from detector.data.container import open_picture
from detector.data.decode import DecodeError, decode, read_header
from detector.errors import UserError

# Pillow comments on bad metadata while it reads them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LIMIT = 10**6
MAGIC = [
    b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"P5 ", b"P6\n",
    b"RIFF\x99\0\0\0WEBPVP8 ", b"RIFF\x99\0\0\0WEBPVP8X", b"II*\0\x08\0\0\0", b"MM\0*", b"II+\0",
    b"Pf\n", b"\0\0\0\x1cftypavif", b"",
]  # fmt: skip


def encode(im, fmt, **options):
    out = io.BytesIO()
    im.save(out, fmt, **options)
    return out.getvalue()


def picture(mode="RGB"):
    y, x = np.mgrid[:60, :80]
    pixels = np.stack([x * 3, y * 4, (x * y) % 256], -1).astype("u1")
    pixels[::9] = np.random.default_rng(0).integers(0, 256, pixels[::9].shape)
    return Image.fromarray(pixels).convert(mode)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *before, bits=8, colour=2, rows=b""):
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [
        chunk(b"IHDR", head),
        *before,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


FILES = {
    "jpeg": encode(picture(), "JPEG"),
    "progressive": encode(picture(), "JPEG", progressive=True),
    "cmyk": encode(picture("CMYK"), "JPEG"),
    "png": encode(picture(), "PNG"),
    "palette": encode(picture("P"), "PNG"),
    "gif": encode(picture(), "GIF"),
    "webp": encode(picture(), "WEBP"),
    "lossless": encode(picture("RGBA"), "WEBP", lossless=True),
    "bmp": encode(picture(), "BMP"),
    "tiff": encode(picture(), "TIFF"),
    "deflate": encode(picture(), "TIFF", compression="tiff_adobe_deflate"),
    "ppm": encode(picture(), "PPM"),
}
if features.check("avif"):
    FILES["avif"] = encode(picture(), "AVIF")
WHOLE = {name: decode(data, max_pixels=LIMIT) for name, data in FILES.items()}


def outcome(data, max_pixels=LIMIT):
    """The pixels, or None where the file was refused in the one way that is allowed."""
    try:
        return decode(data, max_pixels=max_pixels)
    except DecodeError as error:
        assert isinstance(error, UserError) and str(error) and "\n" not in str(error)
        return None


@pytest.fixture(params=[False, True], ids=["strict", "lenient"])
def pillow_flag(request, monkeypatch):
    """Pillow's process-wide switch for padding truncated files, which somebody may have set."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", request.param)


# Cut and altered files


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_refused_or_complete(name, pillow_flag):
    @settings(max_examples=60)
    @given(st.integers(0, len(FILES[name]) - 1))
    def check(cut):
        pixels = outcome(FILES[name][:cut])
        assert pixels is None or np.array_equal(pixels, WHOLE[name])

    check()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.97])
def test_a_tenth_missing_is_always_refused(name, part, pillow_flag):
    assert outcome(FILES[name][: int(len(FILES[name]) * part)]) is None


@pytest.mark.parametrize("name", ["jpeg", "progressive", "cmyk"])
def test_jpeg_without_its_end_marker_is_refused(name, pillow_flag):
    for missing in (1, 2):
        assert outcome(FILES[name][:-missing]) is None
    np.testing.assert_array_equal(outcome(FILES[name] + b"trailing rubbish"), WHOLE[name])


@pytest.mark.parametrize("name", FILES)
def test_altered_bytes_do_not_depend_on_pillows_flag(name, monkeypatch):
    data = FILES[name]

    @settings(max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=1))
    def check(changes):
        altered = bytearray(data)
        for at, value in changes:
            altered[at] = value
        results = []
        for flag in (False, True):
            monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", flag)
            results.append(outcome(bytes(altered)))
        assert (results[0] is None) == (results[1] is None)
        assert results[0] is None or np.array_equal(*results)

    check()


class Short:
    """An AVIF decoder whose frames are smaller than its header says."""

    def __init__(self, own):
        self.own = own

    def get_frame(self, number):
        data, *rest = self.own.get_frame(number)
        return data[: len(data) // 2], *rest


@pytest.mark.skipif("avif" not in FILES, reason="this Pillow reads no AVIF")
def test_a_frame_smaller_than_its_header_says_is_refused(pillow_flag):
    """As one altered byte could make it; WebP's decoder gives frames of the canvas' size."""
    im = open_picture(FILES["avif"], LIMIT)
    im._decoder = Short(im._decoder)
    with pytest.raises(OSError, match="too early"):
        im.load()


@pytest.mark.parametrize("at", [0.3, 0.6, 0.95])
def test_one_altered_bit_of_png_data_is_noticed(at, pillow_flag):
    data = bytearray(FILES["png"])
    data[int(len(data) * at)] ^= 1
    assert outcome(bytes(data)) is None


def test_the_checksum_of_png_data_counts(pillow_flag):
    """Pillow skips it, and the stream's own checksum covers less: here it is intact."""
    data = bytearray(FILES["png"])
    data[data.index(b"IEND") - 5] ^= 1
    assert Image.open(io.BytesIO(data)).convert("RGB").size == (80, 60)
    assert outcome(bytes(data)) is None


def test_frames_after_the_first_may_be_missing(pillow_flag):
    frames = [picture(), picture().rotate(90), picture().rotate(180)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(outcome(data[: len(data) // 2]), outcome(data))


# Foreign bytes


@settings(max_examples=400)
@given(magic=st.sampled_from(MAGIC), noise=st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(magic, noise):
    outcome(magic + noise)
    try:
        read_header(magic + noise)
    except DecodeError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "web page"),
        (b"\xef\xbb\xbf\n<html>", "web page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?>\n<!-- c -->\n<svg/>', "SVG"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"just some text", "not a picture"),
        (bytes(1000), "not a picture"),
    ],
)
def test_the_message_says_what_it_is_and_what_to_do(data, message):
    for read in (read_header, lambda d: decode(d, max_pixels=LIMIT)):
        with pytest.raises(DecodeError, match=message) as caught:
            read(data)
        assert caught.type is DecodeError and len(str(caught.value).splitlines()) == 1
        assert ":" in str(caught.value)


@pytest.mark.parametrize("fmt", ["ICO", "TGA", "PCX", "EPS", "PDF", "JPEG2000", "SGI"])
def test_formats_off_the_list_are_refused(fmt):
    assert (
        outcome(encode(picture(), fmt, **({"bitmap_format": "bmp"} if fmt == "ICO" else {})))
        is None
    )


@pytest.mark.parametrize(("width", "height"), [(0, 9), (9, 0), (0, 0)])
def test_a_picture_without_pixels_is_refused(width, height):
    bmp = bytearray(FILES["bmp"])
    bmp[18:26] = struct.pack("<II", width, height)
    gif = bytearray(FILES["gif"])
    gif[6:10] = struct.pack("<HH", width, height)
    at = 13 + 3 * 256
    gif[at + 5 : at + 9] = struct.pack("<HH", width, height)
    for data in (png(width, height), bytes(bmp), bytes(gif), b"P6 %d %d 255\n" % (width, height)):
        assert outcome(data) is None


# Size


def apng_bomb(width, height):
    """Opening it makes Pillow paint a whole frame, unless the animation is left out."""
    control = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 1, 1, 0)
    actl = chunk(b"acTL", struct.pack(">II", 2, 0))
    return png(width, height, actl, chunk(b"fcTL", control), colour=6)


def gif_bomb(width, height, screen):
    """Opening it makes Pillow paint a whole frame, because the first is to be disposed of."""
    dispose = b"\x21\xf9\x04\x08\0\0\0\0"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0, 0, 0) + dispose + frame + b"\x3b"


def webp_bomb(width, height):
    data = FILES["webp"]
    return data[:26] + struct.pack("<HH", width, height) + data[30:]


def jpeg_bomb(width, height):
    data = bytearray(FILES["jpeg"])
    sof = data.index(b"\xff\xc0")
    data[sof + 5 : sof + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff_bomb(width, height, tile):
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 322: tile, 323: tile, 324: 8, 325: 8}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(40)


BOMBS = {
    "png": png(12000, 12000),
    "apng": apng_bomb(12000, 12000),
    "gif": gif_bomb(12000, 12000, (12000, 12000)),
    "gif with a small screen": gif_bomb(12000, 12000, (1, 1)),
    "jpeg": jpeg_bomb(12000, 12000),
    "tiff": tiff_bomb(12000, 12000, 256),
    "tiff with one huge tile": tiff_bomb(10, 10, 12000),
    "webp": webp_bomb(12000, 12000),
    "bmp": FILES["bmp"][:18] + struct.pack("<II", 12000, 12000) + FILES["bmp"][26:],
    "ppm": b"P6 12000 12000 255\n" + bytes(99),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_above_the_limit_is_refused_from_its_header(name, monkeypatch, recwarn):
    def boom(*_):
        pytest.fail("allocated a picture")

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for function in ("new", "fill"):
        monkeypatch.setattr(Image.core, function, boom)
    started = time.process_time()  # a machine may be busy with something else
    with pytest.raises(
        DecodeError, match=r"12000 x 12000 pixels are more than the limit of 1000000"
    ):
        decode(BOMBS[name], max_pixels=LIMIT)
    assert time.process_time() - started < 1
    assert Image.MAX_IMAGE_PIXELS is None and not recwarn.list


def test_the_limit_is_inclusive():
    assert outcome(FILES["png"], max_pixels=80 * 60) is not None
    assert outcome(FILES["png"], max_pixels=80 * 60 - 1) is None


def test_the_header_of_a_large_picture_is_still_read(monkeypatch):
    monkeypatch.setattr(Image.core, "fill", lambda *_: pytest.fail("allocated a picture"))
    assert (read_header(BOMBS["png"]).width, read_header(BOMBS["apng"]).height) == (12000, 12000)
    with pytest.raises(DecodeError, match="178956970"):
        read_header(png(100_000, 100_000))


def test_two_png_headers_do_not_smuggle_a_size_past_the_limit():
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    assert outcome(png(1, 1, second, rows=bytes(4))) is None
    assert outcome(png(1, 1, rows=bytes(4))).tolist() == [[[0, 0, 0]]]


def test_long_texts_and_profiles_in_a_png_cost_nothing():
    """Pillow refuses such a picture for more than 1 MB of either."""
    large = zlib.compress(bytes(5_000_000))
    extra = [chunk(b"iCCP", b"p\0\0" + large), chunk(b"zTXt", b"k\0\0" + large)]
    assert outcome(png(1, 1, *extra, rows=b"\0\7\7\7")).tolist() == [[[7, 7, 7]]]
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(png(1, 1, *extra, rows=b"\0\7\7\7")))


def test_running_out_of_memory_is_reported_as_an_unusable_file(monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", full)
    with pytest.raises(DecodeError, match="MemoryError"):
        decode(FILES["jpeg"], max_pixels=LIMIT)


@pytest.mark.parametrize("at", ["name", "body", "checksum", "length"])
def test_an_altered_chunk_is_damage_even_where_its_content_is_not_used(at):
    note = chunk(b"tEXt", b"k\0words")
    good = png(5, 4, note, rows=bytes(4 * 16))
    start = good.index(note)
    offset = {"name": 5, "body": 9, "checksum": len(note) - 1, "length": 2}[at]
    bad = bytearray(good)
    bad[start + offset] ^= 1
    assert decode(good, max_pixels=100).shape == (4, 5, 3)
    with pytest.raises(DecodeError, match=r"altered|end"):
        decode(bytes(bad), max_pixels=100)
    with pytest.raises((OSError, SyntaxError)):  # Pillow's own judgement
        Image.open(io.BytesIO(bytes(bad))).load()
