"""Whatever somebody calls a picture, as the pixels of an upright one."""

import os
import stat
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from detector.data.decode import decode, decode_image
from detector.errors import UserError

# Bytes of a file for each pixel that may be decoded, and for all that is not pixels. A file that is
# larger holds no picture within the limit, so that it is not read into memory to find that out.
PER_PIXEL, BESIDE = 16, 64 << 20
_loading = threading.Lock()  # Pillow's pictures load when first used, which two threads may do


def is_path(source: object) -> bool:
    """Whether a picture, or a folder of them, is given by its name."""
    return isinstance(source, (str, os.PathLike))


def name_of(source: object) -> str:
    """The path by which a picture is given, also of an `os.DirEntry`; empty for others."""
    return os.fsdecode(source) if is_path(source) else ""


def is_picture(source: object) -> bool:
    """Whether something is, or names, one picture and not several."""
    one = (bytes, bytearray, memoryview, Image.Image)
    if isinstance(source, np.ndarray):  # four axes are a batch, which iterates as a list does
        return source.ndim != 4
    return is_path(source) or isinstance(source, one)


def pixels_of(source: object, max_pixels: int) -> np.ndarray:
    """Decodes one picture, the same whichever way it is given.

    Args:
        source: A path, the bytes of a file, a PIL image in any mode, or a uint8 array (H, W, 3).
        max_pixels: Larger pictures are refused.

    Returns:
        uint8 (H, W, 3), RGB, upright.

    Raises:
        UserError: It is none of these, or cannot be read; DecodeError where the bytes are to blame.
    """
    if is_path(source):
        return decode(read_file(Path(name_of(source)), max_pixels), max_pixels=max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(bytes(source), max_pixels=max_pixels)
    if isinstance(source, Image.Image):
        with _loading:
            return decode_image(source, max_pixels=max_pixels)
    if isinstance(source, np.ndarray):
        return _of_array(source, max_pixels)
    raise UserError(
        f"a {type(source).__name__} is no picture: give a path, bytes, a PIL image, or a uint8"
        " array (height, width, 3)"
    )


def read_file(path: Path, max_pixels: int) -> bytes:
    """The bytes of a file that may be a picture.

    Args:
        path: `~` is expanded.
        max_pixels: Of the picture, which bounds how long its file can be.

    Raises:
        UserError: It is no regular file, or cannot be read, or is too long.
    """
    try:
        path = path.expanduser()
        found = path.stat()  # before it is opened: a pipe that nobody writes to would hang
        if stat.S_ISDIR(found.st_mode):
            raise UserError("a folder, not a picture")
        if not stat.S_ISREG(found.st_mode):
            raise UserError("not a regular file: save it as one")
        if found.st_size > (longest := PER_PIXEL * max_pixels + BESIDE):
            raise UserError(
                f"{found.st_size / 1e6:.0f} MB are more than a picture of {max_pixels} pixels can"
                f" have ({longest / 1e6:.0f} MB): shrink the picture or raise max_pixels"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file: check the path") from None
    except (OSError, RuntimeError, ValueError) as error:  # the home of nobody; a name with a null
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _of_array(array: np.ndarray, max_pixels: int) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise UserError(
            f"an array {array.dtype} {array.shape} is no picture: give uint8 (height, width, 3),"
            " RGB from 0 to 255"
        )
    height, width = array.shape[:2]
    if not 0 < height * width <= max_pixels:
        raise UserError(f"an array of {width} x {height} pixels: give 1 to {max_pixels} pixels")
    return np.ascontiguousarray(array)
