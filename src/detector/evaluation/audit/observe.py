"""One pass over the files of a set: what can be said of each without knowing its face."""

import os
import sys
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from detector.data.ahead import in_order
from detector.data.decode import DecodeError, Header, decode, quantization_id, read_header
from detector.data.faces import find_faces
from detector.data.index import Index
from detector.errors import UserError
from detector.evaluation.controls import SIDE, Features, spectrum, thumbnail

SHARPNESS_PX = 256  # longer side at which sharpness is measured
GREY = 0.01  # mean difference of the strongest and the weakest channel, of 1


@dataclass(frozen=True)
class Observed:
    """What is known of N images.

    Args:
        categories: By property, N values each: str (N).
        numbers: By property, N values each: float64 (N), NaN where an image has none.
        rows: int64 (M), images whose features were kept.
        features: Of these, for the controls, from the same pass.
    """

    categories: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]
    rows: np.ndarray
    features: Features


def observe(
    index: Index,
    *,
    max_pixels: int,
    most: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Observed:
    """Reads and decodes each file once, one in memory per core.

    Memory stays bounded: features, 8 kB an image, are kept of so many only, and 0.2 kB of each.

    Args:
        index: The set; all of its images are looked at.
        max_pixels: As for the network.
        most: Images whose features are kept; of more, a random choice of so many.
        seed: Of that choice.
        progress: Called with images done and images in all.

    Raises:
        UserError: A file has become unreadable since it was indexed.
    """
    n = len(index)
    kept = np.sort(np.random.default_rng(seed).permutation(n)[:most])
    place = {int(row): at for at, row in enumerate(kept)}
    pixels = np.empty((len(kept), SIDE * SIDE * 3), np.float32)
    dct = np.empty((len(kept), 64), np.float32)
    kinds, sizes = [], []
    columns: dict[str, array | list] = {}

    def look(row: int) -> tuple:
        try:
            data = index.path(row).read_bytes()
            header, image = read_header(data), decode(data, max_pixels=max_pixels)
        except (OSError, DecodeError) as error:
            raise UserError(
                f"{index.path(row)} was readable when it was indexed and is not now ({error}):"
                " run the audit again"
            ) from error
        seen = _of_file(header, len(data)) | _of_pixels(image) | _of_face(image)
        features = (thumbnail(image), spectrum(image)) if row in place else None
        return header, len(data), seen, features

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, (header, size, seen, features) in enumerate(in_order(pool, look, range(n))):
            if features is not None:
                pixels[place[row]], dct[place[row]] = features
                kinds.append((header.format, header.mode, quantization_id(header.quantization)))
                sizes.append((header.width, header.height, size / (header.width * header.height)))
            for key, value in seen.items():
                text = isinstance(value, str)
                column = columns.setdefault(key, [] if text else array("d"))
                column.append(sys.intern(value) if text else value)
            if progress:
                progress(row + 1, n)
    return Observed(
        {key: np.array(column) for key, column in columns.items() if isinstance(column, list)},
        {key: np.array(column) for key, column in columns.items() if isinstance(column, array)},
        kept,
        Features(np.array(kinds, dtype=str), np.log(np.array(sizes)), pixels, dct),
    )


def _of_file(header: Header, size: int) -> dict[str, str | float]:
    return {
        "format": header.format,
        "mode": header.mode,
        "size": f"{header.width} x {header.height}",
        "aspect": header.width / header.height,
        "quantization": quantization_id(header.quantization) or "none",
        "subsampling": header.subsampling or "none",
        "exif": "yes" if header.has_exif else "no",
        "bytes_per_pixel": size / (header.width * header.height),
    }


def _of_pixels(image: np.ndarray) -> dict[str, str | float]:
    """Light, colour and sharpness, of a picture that is shrunk first: its size is told apart."""
    height, width = image.shape[:2]
    scale = SHARPNESS_PX / max(height, width)
    side = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, side, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    red, green, blue = (float(mean) / 255 for mean in small.mean(axis=(0, 1)))
    colour = float((small.max(axis=2) - small.min(axis=2)).mean()) / 255
    edges = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    return {
        "brightness": float(grey.mean()) / 255,
        "contrast": float(grey.std()) / 255,
        "colour": colour,
        "grey": "yes" if colour < GREY else "no",
        "red": red - green,
        "blue": blue - green,
        "sharpness": float(np.log10(edges + 1e-2)),
    }


def _of_face(image: np.ndarray) -> dict[str, str | float]:
    """Position and scale by the eyes of the largest face, relative to the picture."""
    found = find_faces(image)
    height, width = image.shape[:2]
    x = y = scale = tilt = float("nan")
    if found:
        left, right = (np.array(point) for point in found[0].landmarks[:2])
        x, y = (left + right) / 2 / (width, height)
        scale = np.linalg.norm(right - left) / min(width, height)
        tilt = np.degrees(np.arctan2(*(right - left)[::-1]))
    return {
        "faces": ("none", "one", "several")[min(len(found), 2)],
        "face_x": float(x),
        "face_y": float(y),
        "face_scale": float(scale),
        "face_tilt": float(tilt),
    }
