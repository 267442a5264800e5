"""Pixels, orientation, bit depth, colour, transparency and headers, against closed forms."""

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from detector.data.decode import DecodeError, Header, decode, quantization_id, read_header

# Pillow comments on bad metadata while it reads them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LIMIT = 10**7
RNG = np.random.default_rng(7)
STILLS = ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"]
STILLS += ["AVIF"] if features.check("avif") else []


def encode(im, fmt, **options):
    out = io.BytesIO()
    im.save(out, fmt, **options)
    return out.getvalue()


def scene(height=24, width=37):
    """A smooth picture without any symmetry, (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x * 3 + y * 5) % 256], -1).astype("u1")


def png(raw_rows, width, bits, colour, *extra, tail=()):
    """A PNG from unfiltered rows of bytes; `extra` and `tail` are chunks before and after IDAT."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, len(raw_rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in raw_rows))
    chunks = [(b"IHDR", head), *extra, (b"IDAT", body), *tail, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def tiff(pixels, width, height, bits, photometric, samples=1, sample_format=1):
    """A little-endian, uncompressed TIFF of one strip."""
    tags = {
        256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8 + 2 + 12 * 10 + 4,
        277: samples, 278: height, 279: len(pixels), 339: sample_format,
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + b"\0\0\0\0" + pixels


def grey_of(data):
    rgb = decode(data, max_pixels=LIMIT)
    assert (rgb == rgb[..., :1]).all()
    return rgb[..., 0]


def over_white(rgb, alpha):
    """round(alpha * rgb + (1 - alpha) * white), in exact integers."""
    rgb, alpha = rgb.astype(int), alpha.astype(int)[..., None]
    return (2 * (rgb * alpha + 255 * (255 - alpha)) + 255) // 510


# JPEG and the plain case


@given(
    shape=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    quality=st.integers(1, 100),
    subsampling=st.integers(0, 2),
    progressive=st.booleans(),
    grey=st.booleans(),
    seed=st.integers(0, 99),
)
def test_jpeg_is_what_pillow_makes_of_it(shape, quality, subsampling, progressive, grey, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype("u1")
    im = Image.fromarray(pixels[..., 0] if grey else pixels)
    data = encode(im, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode(data, max_pixels=LIMIT), expected)


@pytest.mark.parametrize("fmt", STILLS)
def test_layout_of_the_array(fmt):
    out = decode(encode(Image.fromarray(scene()), fmt), max_pixels=24 * 37)
    assert out.shape == (24, 37, 3) and out.dtype == np.uint8
    assert out.flags.c_contiguous and out.flags.writeable
    if fmt in ("PNG", "TIFF", "BMP", "PPM"):
        np.testing.assert_array_equal(out, scene())


def test_real_files_decode_as_pillow_does():
    root = Path(os.environ.get("DETECTOR_DATA", Path(__file__).parents[3] / "shared/data"))
    files = sorted(root.rglob("*.jpg"))
    if not files:
        pytest.skip(f"no pictures under DETECTOR_DATA={root}")
    for path in files[:: max(1, len(files) // 30)]:
        data = path.read_bytes()
        expected = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(decode(data, max_pixels=LIMIT), expected)
        assert len(read_header(data).quantization) in (1, 2)


# Orientation

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def oriented(fmt, value, **options):
    exif = Image.Exif()
    exif[0x0112] = value
    return encode(Image.fromarray(scene()), fmt, exif=exif, **options)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        pytest.param("AVIF", {}, marks=pytest.mark.skipif("AVIF" not in STILLS, reason="no AVIF")),
    ],
)
def test_every_exif_orientation_is_applied_once(fmt, options, orientation):
    stored = decode(encode(Image.fromarray(scene()), fmt, **options), max_pixels=LIMIT)
    data = oriented(fmt, orientation, **options)
    out = decode(data, max_pixels=LIMIT)
    np.testing.assert_array_equal(out, UPRIGHT[orientation](stored))
    assert out.flags.c_contiguous
    header = read_header(data)
    assert (header.width, header.height, header.orientation) == (37, 24, orientation)


@pytest.mark.parametrize("value", [0, 9, 6000])
def test_an_orientation_that_does_not_exist_changes_nothing(value):
    data = oriented("PNG", value)
    np.testing.assert_array_equal(decode(data, max_pixels=LIMIT), scene())
    assert read_header(data).orientation == 1


@given(noise=st.binary(max_size=60))
def test_an_unreadable_exif_block_does_not_cost_the_picture(noise):
    plain = encode(Image.fromarray(scene()), "JPEG")
    exif = b"Exif\0\0MM\0*" + noise
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    out = decode(data, max_pixels=LIMIT)
    assert sorted(out.shape) == [3, 24, 37]
    assert out.sum() == decode(plain, max_pixels=LIMIT).sum()


def test_png_orientation_after_the_pixels_is_found():
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = [row.tobytes() for row in scene()]
    data = png(rows, 37, 8, 2, tail=[(b"eXIf", exif.tobytes()[6:])])
    np.testing.assert_array_equal(decode(data, max_pixels=LIMIT), np.rot90(scene(), -1))
    assert read_header(data).orientation == 6 and read_header(data).has_exif


# Bit depth

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize(
    ("fmt", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_adobe_deflate"}), ("PPM", {})],
)
def test_16_bit_grey_keeps_the_high_byte(fmt, options):
    data = encode(Image.fromarray(RAMP), fmt, **options)
    np.testing.assert_array_equal(grey_of(data), RAMP >> 8)


def test_16_bit_big_endian_tiff():
    big = Image.frombytes("I;16B", (256, 256), RAMP.astype(">u2").tobytes())
    data = encode(big, "TIFF")
    assert data[:2] == b"MM" and read_header(data).mode == "I;16B"
    np.testing.assert_array_equal(grey_of(data), RAMP >> 8)


@pytest.mark.parametrize("widen", [lambda v: v * 257, lambda v: v << 8])
def test_widened_8_bit_pictures_come_back_exactly(widen):
    eight = scene()[..., 2].astype(np.uint16)
    data = encode(Image.fromarray(widen(eight).astype(np.uint16)), "PNG")
    np.testing.assert_array_equal(grey_of(data), eight)


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_png(colour, channels):
    wide = RNG.integers(0, 65536, (9, 7, channels)).astype(">u2")
    if channels != 3:
        wide[..., -1] = 65535
    out = decode(png([row.tobytes() for row in wide], 7, 16, colour), max_pixels=LIMIT)
    expected = wide[..., :1] if channels == 2 else wide[..., :3]
    np.testing.assert_array_equal(out, np.broadcast_to(expected >> 8, out.shape))


def test_12_bit_tiff():
    values = np.arange(4096, dtype=np.uint16)
    a, b = values[::2], values[1::2]
    packed = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], -1).astype("u1").tobytes()
    np.testing.assert_array_equal(grey_of(tiff(packed, 64, 64, 12, 1)).ravel(), values >> 4)


def test_white_is_zero_is_turned_round():
    data = tiff(RAMP.astype("<u2").tobytes(), 256, 256, 16, 0)
    np.testing.assert_array_equal(grey_of(data), 255 - (RAMP >> 8))


def test_32_bit_grey_within_16_bits():
    data = encode(Image.fromarray(RAMP.astype(np.int32)), "TIFF")
    assert read_header(data).mode == "I"
    np.testing.assert_array_equal(grey_of(data), RAMP >> 8)


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1])
def test_32_bit_grey_beyond_16_bits_is_refused_rather_than_guessed(value):
    pixels = np.array([[0, value]], dtype=np.int32)
    with pytest.raises(DecodeError, match="8 or 16 bits"):
        decode(encode(Image.fromarray(pixels), "TIFF"), max_pixels=LIMIT)


def test_signed_16_bit_tiff_spans_its_positive_half():
    values = np.arange(32768, dtype="<i2")
    data = tiff(values.tobytes(), 256, 128, 16, 1, sample_format=2)
    np.testing.assert_array_equal(grey_of(data).ravel(), values >> 7)


@pytest.mark.parametrize("fmt", ["TIFF", "PPM"])
@pytest.mark.parametrize("top", [1, 255])
def test_float_grey(fmt, top):
    values = np.linspace(0, top, 1000, dtype=np.float32).reshape(20, 50)
    data = encode(Image.fromarray(values), fmt)
    np.testing.assert_array_equal(grey_of(data), np.rint(values * np.float32(255 / top)))
    values[0, :2] = -0.1 * top, 1.2 * top  # a filter's overshoot
    overshot = grey_of(encode(Image.fromarray(values), fmt))
    assert overshot[0, :2].tolist() == [0, 255]
    assert (overshot.ravel()[2:] == grey_of(data).ravel()[2:]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e4, -200.0])
def test_float_grey_without_a_known_range_is_refused(value):
    pixels = np.array([[0, value]], dtype=np.float32)
    with pytest.raises(DecodeError, match="scale them"):
        decode(encode(Image.fromarray(pixels), "TIFF"), max_pixels=LIMIT)


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "BMP", "PPM", "GIF"])
def test_1_bit(fmt):
    bits = RNG.integers(0, 2, (11, 13)).astype(bool)
    np.testing.assert_array_equal(grey_of(encode(Image.fromarray(bits), fmt)), bits * 255)


# Colour


def from_cmyk(cmyk):
    c, m, y, k = np.moveaxis(cmyk.astype(float), -1, 0)
    return np.stack([(255 - v) * (255 - k) / 255 for v in (c, m, y)], -1)


@pytest.mark.parametrize(
    ("fmt", "options", "tolerance"), [("TIFF", {}, 1), ("JPEG", {"quality": 100}, 4)]
)
def test_cmyk(fmt, options, tolerance):
    cmyk = np.kron(RNG.integers(0, 256, (5, 6, 4)), np.ones((16, 16, 1))).astype("u1")
    data = encode(Image.frombytes("CMYK", (96, 80), cmyk.tobytes()), fmt, **options)
    difference = decode(data, max_pixels=LIMIT) - from_cmyk(cmyk)
    assert np.abs(difference).max() <= tolerance


def test_ycck_jpeg():
    """The same samples, declared YCCK: YCbCr of the three inks, and the inverse of black."""
    stored = np.kron(RNG.integers(40, 216, (5, 6, 4)), np.ones((16, 16, 1))).astype("u1")
    inverted = Image.frombytes("CMYK", (96, 80), (255 - stored).tobytes())
    data = encode(inverted, "JPEG", quality=100, subsampling=0)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    data = data[:at] + b"\2" + data[at + 1 :]
    y, cb, cr, k = np.moveaxis(stored.astype(float), -1, 0)
    cb, cr = cb - 128, cr - 128
    rgb = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
    expected = (255 - np.clip(np.stack(rgb, -1), 0, 255)) * k[..., None] / 255
    assert np.abs(decode(data, max_pixels=LIMIT) - expected).max() <= 4


def test_lab_tiff():
    lab = np.array([[[0, 0, 0], [255, 0, 0], [128, 0, 0], [138, 60, 40], [150, 206, 40]]], "u1")
    data = encode(Image.frombytes("LAB", (5, 1), lab.tobytes()), "TIFF")
    assert read_header(data).mode == "LAB"
    light, a, b = np.moveaxis(lab[0].astype(float), -1, 0)
    a, b = (np.where(v > 127, v - 256, v) for v in (a, b))
    fy = (light * 100 / 255 + 16) / 116
    f = np.stack([fy + a / 500, fy, fy - b / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8249]
    # sRGB primaries adapted to D50 (Bradford), the white of CIELAB in TIFF and ICC.
    linear = xyz @ np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
         [0.0719453, -0.2289914, 1.4052427]]
    ).T  # fmt: skip
    linear = np.clip(linear, 0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(decode(data, max_pixels=LIMIT)[0] - srgb * 255).max() <= 3


def test_ycbcr_tiff():
    data = encode(Image.fromarray(scene()), "TIFF", compression="jpeg", quality=95)
    assert np.abs(decode(data, max_pixels=LIMIT).astype(int) - scene()).mean() < 3


@pytest.mark.parametrize("fmt", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(fmt):
    indices = RNG.integers(0, 200, (9, 12)).astype("u1")
    palette = RNG.integers(0, 256, (256, 3)).astype("u1")
    im = Image.fromarray(indices)
    im.putpalette(palette.tobytes())
    np.testing.assert_array_equal(decode(encode(im, fmt), max_pixels=LIMIT), palette[indices])


# Transparency


@pytest.mark.parametrize(
    ("fmt", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})]
)
def test_alpha_is_composed_over_white(fmt, options):
    rgba = RNG.integers(0, 256, (40, 50, 4)).astype("u1")
    out = decode(encode(Image.fromarray(rgba), fmt, **options), max_pixels=LIMIT)
    np.testing.assert_array_equal(out, over_white(rgba[..., :3], rgba[..., 3]))


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_grey_with_alpha(fmt):
    la = RNG.integers(0, 256, (40, 50, 2)).astype("u1")
    out = decode(encode(Image.frombytes("LA", (50, 40), la.tobytes()), fmt), max_pixels=LIMIT)
    np.testing.assert_array_equal(out, over_white(la[..., [0, 0, 0]], la[..., 1]))


def test_palette_with_alpha():
    indices = RNG.integers(0, 256, (20, 30)).astype("u1")
    palette = RNG.integers(0, 256, (256, 3)).astype("u1")
    alpha = RNG.integers(0, 256, 256).astype("u1")
    im = Image.fromarray(indices)
    im.putpalette(palette.tobytes())
    out = decode(encode(im, "PNG", transparency=alpha.tobytes()), max_pixels=LIMIT)
    np.testing.assert_array_equal(out, over_white(palette[indices], alpha[indices]))
    for fmt in ("PNG", "GIF"):
        out = decode(encode(im, fmt, transparency=17), max_pixels=LIMIT)
        expected = np.where((indices == 17)[..., None], 255, palette[indices])
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("bits", "colour", "key"), [(8, 0, b"\0\5"), (16, 0, b"\1\5"), (8, 2, b"\0\5\0\6\0\7")]
)
def test_png_colour_key_is_transparent(bits, colour, key):
    sample = key if bits == 16 else key[1::2]
    rows = [sample + bytes(len(sample))] * 2
    out = decode(png(rows, 2, bits, colour, (b"tRNS", key)), max_pixels=LIMIT)
    assert out.tolist() == [[[255] * 3, [0] * 3]] * 2


def test_1_bit_colour_key_is_transparent():
    out = decode(png([b"\x55"] * 2, 8, 1, 0, (b"tRNS", b"\0\0")), max_pixels=LIMIT)
    assert (out == 255).all()


# Several pictures in one file


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "TIFF", "MPO", *STILLS[7:]])
def test_the_first_picture_counts(fmt):
    frames = [Image.new("RGB", (16, 16), c) for c in ((200, 30, 40), (10, 220, 30), (0, 0, 255))]
    data = encode(frames[0], fmt, save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert np.abs(decode(data, max_pixels=LIMIT).astype(int) - [200, 30, 40]).max() <= 3


# State and threads


def test_pillows_global_limits_are_neither_used_nor_changed(monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for fmt in set(STILLS) - {"TIFF"}:  # Pillow checks TIFF inside the plugin
        data = encode(Image.fromarray(scene()), fmt)
        assert decode(data, max_pixels=LIMIT).shape == (24, 37, 3)
        assert read_header(data).width == 37
    assert Image.MAX_IMAGE_PIXELS == 5 and ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert not recwarn.list


def test_threads_agree_with_one_thread():
    big = Image.fromarray(scene(200, 300))
    files = [encode(big, fmt) for fmt in STILLS] + [oriented("JPEG", 6), encode(big, "JPEG")[:-500]]

    def outcome(data):
        try:
            return decode(data, max_pixels=LIMIT).tobytes()
        except DecodeError as error:
            return str(error)

    alone = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files * 20)) == alone * 20


# Headers


def zigzag():
    """Natural index of each coefficient in the order of the file (ITU T.81, figure A.6)."""
    cells = [(r, c) for r in range(8) for c in range(8)]
    order = sorted(cells, key=lambda p: (sum(p), p[1] if sum(p) % 2 == 0 else p[0]))
    return [r * 8 + c for r, c in order]


def test_quantization_tables_are_in_natural_order():
    tables = [list(RNG.integers(1, 256, 64)) for _ in range(2)]
    data = encode(Image.fromarray(scene()), "JPEG", qtables=tables)
    header = read_header(data)
    assert header.quantization == tuple(tuple(table) for table in tables)
    at = data.index(b"\xff\xdb") + 5
    assert [header.quantization[0][i] for i in zigzag()] == list(data[at : at + 64])
    assert all(type(v) is int for v in header.quantization[0])


def test_quantization_id():
    ids = {
        quantization_id(
            read_header(encode(Image.fromarray(scene()), "JPEG", quality=q)).quantization
        )
        for q in range(1, 96)
    }
    assert len(ids) == 95 and {len(i) for i in ids} == {12}
    assert quantization_id(()) == ""
    assert quantization_id(read_header(encode(Image.fromarray(scene()), "PNG")).quantization) == ""
    assert quantization_id([[1, 2], [3]]) == quantization_id(((1, 2), (3,))) == "bdd7445495a1"
    assert len({quantization_id(t) for t in ([[1, 2], [3]], [[1], [2, 3]], [[3], [1, 2]])}) == 3


@pytest.mark.parametrize(
    ("subsampling", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0"), ("4:1:1", "4:2:0")]
)
def test_subsampling(subsampling, name):
    data = encode(Image.fromarray(scene()), "JPEG", subsampling=subsampling)
    assert read_header(data).subsampling == name


def test_subsampling_is_a_ratio():
    data = bytearray(encode(Image.fromarray(scene()), "JPEG", subsampling=0))
    sof = data.index(b"\xff\xc0")
    for component in range(3):
        data[sof + 11 + 3 * component] = 0x22
    assert read_header(bytes(data)).subsampling == "4:4:4"
    data[sof + 11] = 0x41
    data[sof + 14] = data[sof + 17] = 0x11
    assert read_header(bytes(data)).subsampling == "4:1:1"
    data[sof + 14] = 0x21
    assert read_header(bytes(data)).subsampling == ""


@pytest.mark.parametrize("fmt", STILLS)
def test_header_without_decoding(fmt, monkeypatch):
    plain = encode(Image.fromarray(scene()), fmt)
    tagged = oriented(fmt, 1) if fmt in ("JPEG", "PNG", "WEBP", "TIFF") else b""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    header = read_header(plain)
    mode = "P" if fmt == "GIF" else "RGB"
    assert replace(header, quantization=(), subsampling="") == Header(
        format=fmt, mode=mode, width=37, height=24, orientation=1, quantization=(),
        subsampling="", has_exif=False,
    )  # fmt: skip
    assert bool(header.quantization) == bool(header.subsampling) == (fmt == "JPEG")
    if tagged and fmt != "TIFF":
        assert read_header(tagged).has_exif


def test_exif_of_a_tiff():
    exif = Image.Exif()
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    exif.load(block + struct.pack("<HHHI4sI", 1, 0x9000, 7, 4, b"0232", 0))
    assert exif.get_ifd(0x8769) == {0x9000: b"0232"}
    assert read_header(encode(Image.fromarray(scene()), "TIFF", exif=exif)).has_exif


def test_header_of_grey_and_cmyk_jpeg_has_no_subsampling():
    for mode in ("L", "CMYK"):
        header = read_header(encode(Image.fromarray(scene()).convert(mode), "JPEG"))
        assert header.mode == mode and header.subsampling == "" and header.quantization


def test_jpeg_header_needs_only_the_head():
    data = encode(Image.fromarray(scene(200, 300)), "JPEG")
    assert read_header(data[: data.index(b"\xff\xda") + 14]) == read_header(data)
    with pytest.raises(DecodeError):
        read_header(data[:100])
