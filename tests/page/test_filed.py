"""What a file shows, on files that were made to show it."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from detector.data.decode import decode, read_header
from detector.data.synthetic.portrait import paint
from detector.errors import UserError
from detector.page.filed import facts, png_keys, shown
from detector.page.traces import check_scans, find_traces, jpeg_quality

LIMIT = 10**7


@pytest.fixture(scope="module")
def faces():
    """Rendered faces that were never compressed."""
    parts = (False,) * 4
    return [
        Image.fromarray(paint((7, 1, at), size=384, difficulty="easy", parts=parts, fake=False)[0])
        for at in range(6)
    ]


def packed(image, form="JPEG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def again(image, quality, cut=0):
    """As an image, after JPEG; cut at a corner that lies off the blocks."""
    opened = Image.open(io.BytesIO(packed(image, quality=quality))).convert("RGB")
    return opened.crop((cut, cut, *opened.size))


def traces(data):
    return find_traces(decode(data, max_pixels=LIMIT), read_header(data))


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_one_compression_leaves_no_traces(faces, quality):
    for face in faces:
        found = traces(packed(face, quality=quality))
        assert not found.gaps and found.grid is None


@pytest.mark.parametrize("first, second", [(50, 90), (70, 90), (75, 85)])
def test_a_stronger_compression_before_is_seen(faces, first, second):
    found = [traces(packed(again(face, first), quality=second)).gaps for face in faces]
    assert np.mean(found) >= 0.8


def test_a_png_that_was_a_jpeg_is_seen_and_where_it_was_cut(faces):
    assert all(traces(packed(face, "PNG")).grid is None for face in faces)
    found = [traces(packed(again(face, 60), "PNG")).grid for face in faces]
    assert found.count((0, 0)) >= 5
    found = [traces(packed(again(face, 60, cut=3), "PNG")).grid for face in faces]
    assert found.count((5, 5)) >= 5


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95, 100])
def test_quality_is_read_back_from_pillows_tables(quality):
    header = read_header(packed(Image.new("RGB", (16, 16)), quality=quality))
    assert jpeg_quality(np.array(header.quantization[0])) == (quality, True)
    changed = np.array(header.quantization[0])
    changed[5] += 1
    assert jpeg_quality(changed)[1] is False


def values(data):
    return {fact.name: fact.value for fact in facts(data, decode(data, max_pixels=LIMIT), LIMIT)}


def test_exif_names_camera_and_software_and_no_place(faces):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Acme", "One\n<b>", "Editor"
    exif.get_ifd(0x8825)[1] = "N"
    found = values(packed(faces[0], exif=exif))
    assert found["EXIF"].startswith("camera Acme One <b>; software Editor")
    assert found["Format"].startswith("JPEG, 384 × 384")
    assert values(packed(faces[0]))["EXIF"] == "none"


def test_marks_of_generators_are_shown(faces):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a face, highly detailed")
    data = packed(faces[0], "PNG", pnginfo=info)
    assert png_keys(data) == ["parameters"]
    assert values(data)["Text in the PNG"] == "keys parameters"
    marked = packed(faces[0], xmp=b"<x>trainedAlgorithmicMedia</x>")
    assert "generator" in values(marked)["Source"]
    found = facts(marked, decode(marked, max_pixels=LIMIT), LIMIT)
    assert "Anyone" in next(fact.note for fact in found if fact.name == "Source")


@pytest.mark.parametrize("form", ["WEBP", "PNG", "GIF", "BMP", "TIFF", "AVIF"])
def test_other_formats_have_their_facts(faces, form):
    assert values(packed(faces[0], form))["Recompression"]


@pytest.mark.parametrize("form, side", [("WEBP", 384), ("AVIF", 384), ("PNG", 60), ("JPEG", 60)])
def test_where_nobody_looked_for_traces_that_is_said(faces, form, side):
    said = values(packed(faces[0].resize((side, side)), form))["Recompression"]
    assert said == "not looked for"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_has_the_same_traces(faces, orientation):
    """Its blocks begin where they were stored, whatever side a viewer puts up."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    face = again(faces[1], 50).crop((0, 0, 380, 340))  # sides that are not all whole blocks
    plain, turned = packed(face, quality=90), packed(face, quality=90, exif=exif)
    assert traces(turned) == traces(plain) and traces(plain).gaps


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_read(faces):
    progressive = packed(faces[0], progressive=True)
    check_scans(progressive)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    with pytest.raises(UserError, match="scans"):
        check_scans(progressive[:-2] + scan * 100 + progressive[-2:])


def test_a_strangers_text_is_one_short_line():
    assert shown("a\x00b\nc" + "d" * 100).startswith("a b cddd")
    assert len(shown("d" * 100)) == 60
    assert shown(7) == ""
