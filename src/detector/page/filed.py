"""What a file itself shows: format, EXIF, how it was compressed, and whether more than once.

None of it is a verdict. A camera's EXIF can be written by anyone, most sites and messengers strip
it, and nearly every picture that was passed on was compressed again.
"""

import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from detector.data.container import open_picture
from detector.data.decode import Header, read_header
from detector.page.traces import SMALLEST, Traces, find_traces, jpeg_quality

LONGEST = 60  # letters that are shown of what a file says
GENERATOR_KEYS = {"parameters", "prompt", "workflow", "dream", "sd-metadata", "invokeai_metadata"}
NAMES = {"JPEG": "JPEG", "WEBP": "WebP"}


@dataclass(frozen=True)
class Fact:
    """One line of what the file shows.

    Args:
        name: What is looked at.
        value: What was found.
        note: What follows from it, or does not; may be empty.
    """

    name: str
    value: str
    note: str = ""


def facts(data: bytes, image: np.ndarray, max_pixels: int) -> list[Fact]:
    """Reads a file that was decoded.

    Args:
        data: The whole file.
        image: uint8 (H, W, 3), its picture.
        max_pixels: As for `decode`.

    Raises:
        DecodeError: It is no readable picture.
    """
    header = read_header(data)
    found = [_format(header, len(data))]
    found += _exif(data, max_pixels)
    found += _about_itself(data)
    traces = find_traces(image, header)
    if header.quantization:
        found.append(_quality(header))
    found.append(_traces(header, traces))
    return found


def _format(header: Header, size: int) -> Fact:
    amount = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"
    name = NAMES.get(header.format, header.format)
    return Fact("Format", f"{name}, {header.width} × {header.height} pixels, {amount}")


def _exif(data: bytes, max_pixels: int) -> list[Fact]:
    try:
        # The base class: for PNG the override would decode the pixels.
        exif = Image.Image.getexif(open_picture(data, max_pixels))
        camera = " ".join(filter(None, (shown(exif.get(tag)) for tag in (Base.Make, Base.Model))))
        software = shown(exif.get(Base.Software))
        details = exif.get_ifd(IFD.Exif)
        taken = shown(details.get(Base.DateTimeOriginal))
        place = bool(exif.get_ifd(IFD.GPSInfo))
        empty = not len(exif)
    except Exception:  # whatever Pillow raises on a damaged block, which viewers ignore
        return [Fact("EXIF", "there is a block that cannot be read")]
    if empty:
        note = "Cameras write it; most sites, messengers and generators leave none."
        return [Fact("EXIF", "none", note)]
    said = [f"camera {camera}"] if camera else ["no camera named"]
    said += [f"software {software}"] if software else []
    said += [f"taken {taken}"] if taken else []
    said += ["a place is recorded"] if place else []
    return [Fact("EXIF", "; ".join(said), "Anyone can write or change it.")]


def _about_itself(data: bytes) -> list[Fact]:
    """Marks by which files say that a generator made them, or who vouches for them."""
    found = []
    keys = sorted(GENERATOR_KEYS & {key.lower() for key in png_keys(data)})
    if keys:
        found.append(
            Fact(
                "Text in the PNG",
                f"keys {', '.join(keys)}",
                "Image generators write these. Anyone else can, too.",
            )
        )
    if b"trainedAlgorithmicMedia" in data:
        note = "Generators and editors write that. Anyone else can, too."
        found.append(Fact("Source", "the file calls itself made by a generator", note))
    if b"jumb" in data and b"c2pa" in data:
        note = "Their signature is not checked here; contentcredentials readers do that."
        found.append(Fact("Content Credentials", "embedded (C2PA)", note))
    return found


def png_keys(data: bytes) -> list[str]:
    """Keywords of the text chunks of a PNG; empty for other files or damaged ones."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return []
    keys, at = [], 8
    while at + 8 <= len(data) and len(keys) < 100:
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            key = data[at + 8 : at + 8 + min(length, 80)].split(b"\0")[0]
            keys.append(key.decode("latin-1"))
        at += 12 + length
    return keys


def _quality(header: Header) -> Fact:
    quality, standard = jpeg_quality(np.array(header.quantization[0]))
    about = f"about quality {quality}" if not standard else f"quality {quality}"
    tables = "the standard tables" if standard else "tables of its own"
    colour = f", colour {header.subsampling}" if header.subsampling else ""
    note = "" if standard else "Cameras, phones and some editors have their own."
    return Fact("Compression", f"{about}, {tables}{colour}", note)


def _traces(header: Header, traces: Traces) -> Fact:
    note = "So do pictures that were only saved again, or passed on."
    if not traces.looked:
        why = f"Looked for in JPEG and in lossless files from {SMALLEST} pixels a side."
        return Fact("Recompression", "not looked for", why)
    if traces.gaps:
        return Fact("Recompression", "traces of an earlier, stronger JPEG compression", note)
    if traces.grid is not None:
        if header.format == "JPEG":
            value = "traces of an earlier JPEG whose blocks lie elsewhere: cut or moved since"
        else:
            value = "traces of JPEG blocks: it was a JPEG before"
        return Fact("Recompression", value, note)
    return Fact("Recompression", "no traces found", "Weak ones, and those of a resize, are missed.")


def shown(value: object) -> str:
    """Text of a stranger in one short line of printable letters; empty for anything else."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
