"""Traces of earlier JPEG compression in a picture.

Two that need no training: gaps in the histograms of DCT coefficients, which quantizing first
coarsely and then finely leaves (Popescu and Farid, Statistical Tools for Digital Forensics, 2004),
and steps of brightness at every eighth pixel, where no grid belongs (after Li et al., Passive
detection of doctored JPEG image via block artifact grid extraction, Signal Processing 89, 2009).
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from detector.data.decode import Header
from detector.errors import UserError

SIDE = 1024  # pixels a side that are looked at, from the corner on
SMALLEST = 64  # pixels a side
SCANS = 100  # of a JPEG
# What undoes an EXIF orientation; 1 is upright.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
LOSSLESS = {"PNG", "BMP", "TIFF", "PPM", "GIF"}
# In zigzag order from the first after the mean: those with enough other values than 0.
FREQUENCIES = ((0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))
HIGHEST = 40  # of the quantized values whose frequency is looked at
LEAST = 25  # blocks that a value beyond a gap has
GAP = 0.25  # of what that one has
AGREE = 2  # frequencies that show gaps
STEP = 0.05  # by which steps are more frequent on a grid than beside it
# The luminance table of the JPEG standard, annex K.1 (ITU-T T.81), row by row.
STANDARD = np.array(
    [
        16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
        14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Traces:
    """What was found.

    Args:
        gaps: Whether histograms of coefficients have the gaps of a coarser first compression.
        grid: Column and row, 0 to 7, at which blocks begin that are not the file's own; None
            where there are none.
        looked: Whether anybody could look: not in a small picture, nor below the blocks that
            other formats have of their own.
    """

    gaps: bool = False
    grid: tuple[int, int] | None = None
    looked: bool = True


def check_scans(data: bytes) -> None:
    """Refuses a JPEG of very many scans: each goes over the whole picture again.

    A progressive one has about ten. Within a scan the two bytes are never found.

    Raises:
        UserError: It has too many.
    """
    scans = data.count(b"\xff\xda") if data.startswith(b"\xff\xd8") else 0
    if scans > SCANS:
        raise UserError(f"a JPEG of {scans} scans takes too long to read: save it anew")


def find_traces(image: np.ndarray, header: Header) -> Traces:
    """Looks for both in a picture.

    Args:
        image: uint8 (H, W, 3), as `decode` gives it.
        header: Of the file.
    """
    turned = Image.fromarray(image)
    if header.format == "JPEG" and header.orientation in STORED:  # blocks lie as they were stored
        turned = turned.transpose(STORED[header.orientation])
    grey = turned.crop((0, 0, min(SIDE, turned.width), min(SIDE, turned.height))).convert("L")
    grey = np.asarray(grey, np.float32)
    if min(grey.shape) < SMALLEST or header.format not in LOSSLESS | {"JPEG"}:
        return Traces(looked=False)
    if header.format == "JPEG":
        table = np.array(header.quantization[0], np.float32).reshape(8, 8)
        return Traces(has_gaps(grey, table), foreign_grid(grey, own=True))
    return Traces(grid=foreign_grid(grey, own=False))


def has_gaps(grey: np.ndarray, table: np.ndarray) -> bool:
    """Whether quantized coefficients avoid values, but take larger ones often.

    Args:
        grey: float32 (H, W), luminance as decoded, the file's blocks beginning at 0.
        table: float32 (8, 8), the file's quantization.
    """
    height, width = (side // 8 * 8 for side in grey.shape)
    blocks = grey[:height, :width].reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    basis = _dct_basis()
    agree = 0
    for row, column in FREQUENCIES:
        if table[row, column] < 2:  # rounding to whole pixels blurs these
            continue
        pattern = np.outer(basis[row], basis[column])
        values = np.rint(np.einsum("abij,ij->ab", blocks, pattern) / table[row, column])
        counts = np.bincount(np.abs(values).astype(int).ravel(), minlength=HIGHEST)[:HIGHEST]
        # Of a picture that was compressed once, small values are the more frequent ones.
        beyond = np.maximum.accumulate(counts[::-1])[::-1]
        agree += bool(((beyond >= LEAST) & (counts < GAP * beyond)).any())
    return agree >= AGREE


def foreign_grid(grey: np.ndarray, *, own: bool) -> tuple[int, int] | None:
    """Where blocks of 8 begin that are not the file's own.

    Args:
        grey: float32 (H, W).
        own: Whether the file has blocks itself, which begin at 0.

    Returns:
        Column and row, 0 to 7; None where there are none.
    """
    found = []
    for picture in (grey, grey.T):
        share = steps(picture)
        if own:
            share[0] = -np.inf
        at = int(share.argmax())
        others = np.delete(share, sorted({at, 0} if own else {at}))
        if share[at] - np.median(others) < STEP or share[at] - others.max() < STEP / 2:
            return None
        found.append(at)
    return found[0], found[1]


def steps(grey: np.ndarray) -> np.ndarray:
    """How often the step between two columns is larger than both beside it.

    Args:
        grey: float32 (H, W).

    Returns:
        float64 (8,), by the column that begins after the step, modulo 8.
    """
    step = np.abs(np.diff(grey, axis=1))
    peak = (step[:, 1:-1] > step[:, :-2]) & (step[:, 1:-1] > step[:, 2:])
    often = peak.mean(0)  # of the step into column 2, 3, ...
    columns = np.arange(2, 2 + len(often)) % 8
    return np.array([often[columns == at].mean() for at in range(8)])


def jpeg_quality(table: np.ndarray) -> tuple[int, bool]:
    """The quality, as libjpeg counts it, whose table is nearest.

    Args:
        table: int (64,), luminance, row by row.

    Returns:
        1 to 100, and whether the table is exactly that of this quality.
    """
    table = np.asarray(table).ravel()
    qualities = np.arange(1, 101)
    scale = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    tables = np.clip((STANDARD * scale[:, None] + 50) // 100, 1, 255)
    distance = np.abs(tables - table).sum(1)
    best = int(distance.argmin())
    return best + 1, bool(distance[best] == 0)


def _dct_basis() -> np.ndarray:
    """float32 (8, 8), orthonormal type II, one row a frequency."""
    k, x = np.arange(8)[:, None], np.arange(8)[None]
    basis = np.cos(np.pi * (2 * x + 1) * k / 16) / 2
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)
