"""The formats that can be checked: how each is written, and what runs it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from detector.deploy.int8_onnx import RANGES, quantize_onnx
from detector.deploy.network import Portable
from detector.deploy.to_onnx import check_installed, write_onnx
from detector.predicting.backend import Backend
from detector.predicting.card import Card
from detector.predicting.onnx_backend import open_onnx

__all__ = ["FORMATS", "RANGES", "Format"]


class Format(Protocol):
    """A format of exported files; making one looks whether its packages are installed.

    Attributes:
        suffix: Of its files.
        packages: Whose versions a report names.
    """

    suffix: str
    packages: tuple[str, ...]

    def write(self, network: Portable, card: Mapping, file: Path) -> None:
        """Write the float form."""
        ...

    def write_int8(
        self,
        network: Portable,
        card: Mapping,
        file: Path,
        batches: Iterable[np.ndarray],
        *,
        ranges: str,
        stay_float: Sequence[str],
    ) -> None:
        """Write the int8 form, with ranges seen on batches float32 (N, 3, S, S)."""
        ...

    def open(self, file: Path, card: Card) -> Backend:
        """What runs a file."""
        ...


class Onnx:
    """Run by ONNX Runtime, on any machine, without torch."""

    suffix = ".onnx"
    packages = ("onnx", "onnxruntime", "onnxscript")

    def __init__(self) -> None:
        check_installed()

    def write(self, network: Portable, card: Mapping, file: Path) -> None:
        write_onnx(network, card, file)

    def write_int8(
        self,
        network: Portable,
        card: Mapping,
        file: Path,
        batches: Iterable[np.ndarray],
        *,
        ranges: str,
        stay_float: Sequence[str],
    ) -> None:
        plain = file.with_suffix(".float.onnx")
        write_onnx(network, card, plain)
        quantize_onnx(plain, card, batches, file, ranges=ranges, stay_float=stay_float)

    def open(self, file: Path, card: Card) -> Backend:
        return open_onnx(file)[0]


def _litert() -> Format:
    from detector.deploy.to_litert import LiteRT  # its packages are rarely there

    return LiteRT()


FORMATS = {"onnx": Onnx, "litert": _litert}
