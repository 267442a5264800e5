"""LiteRT, once called TensorFlow Lite: the network for phones, one image at a time."""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from detector.deploy.network import Portable, first_line, quiet
from detector.errors import UserError
from detector.predicting.backend import Backend
from detector.predicting.card import Card
from detector.predicting.onnx_backend import usable_cores

INSTALL = "`make litert` makes .venv-litert, whose python has it"
SIGNATURE = "serving_default"


class LiteRT:
    """Written by litert-torch, quantized by ai-edge-quantizer, run by ai-edge-litert.

    Raises:
        UserError: A package is missing.
    """

    suffix = ".tflite"
    packages = ("litert-torch", "ai-edge-litert", "ai-edge-quantizer")

    def __init__(self) -> None:
        try:
            with _muted():
                import ai_edge_litert.interpreter  # noqa: F401
                import ai_edge_quantizer.quantizer  # noqa: F401
                import litert_torch  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"format=litert needs litert-torch ({error.name} is missing): {INSTALL}"
            ) from error

    def write(self, network: Portable, card: Mapping, file: Path) -> None:
        """Float; the card has no place in the file and lies beside it."""
        import litert_torch

        try:
            with _muted():
                litert_torch.convert(network, (network.example(1),)).export(str(file))
        except Exception as error:  # anything that tracing somebody's network can raise
            raise UserError(
                f"litert-torch cannot express this network ({first_line(error)}): choose another"
                " one, or format=onnx"
            ) from error

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
        """Static, a scale per output channel. Images and answers are int8 too, with the scale that
        the file names: features that are both an answer and an input of the last layer cannot be
        float in the one place and int8 in the other."""
        from ai_edge_quantizer import quantizer, recipe

        if stay_float or ranges != "minmax":
            raise UserError("quantize.float and quantize.ranges are for format=onnx alone")
        plain = file.with_suffix(".float.tflite")
        self.write(network, card, plain)
        images = [{"args_0": image[None]} for batch in batches for image in batch]
        try:
            with _muted():
                made = quantizer.Quantizer(str(plain))
                made.load_quantization_recipe(recipe.static_wi8_ai8())
                seen = made.calibrate({SIGNATURE: images}, num_threads=usable_cores())
                made.quantize(seen).export_model(str(file))
        except Exception as error:
            raise UserError(
                f"ai-edge-quantizer cannot quantize this network ({first_line(error)}): int8=false"
            ) from error

    def open(self, file: Path, card: Card) -> Backend:
        return LiteRTBackend(file)


class LiteRTBackend:
    """Runs a file as `detector.predicting.backend.Backend` says, one image after the other.

    Args:
        file: As `LiteRT` writes it.

    Raises:
        UserError: LiteRT cannot run it.
    """

    name = "litert"

    def __init__(self, file: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with _muted():
                self._interpreter = Interpreter(model_path=str(file), num_threads=usable_cores())
                self._interpreter.allocate_tensors()
                self._run = self._interpreter.get_signature_runner(SIGNATURE)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"LiteRT cannot run what was written ({first_line(error)})") from error
        (self._input,) = self._run.get_input_details().values()
        self._outputs = self._run.get_output_details()  # output_0, output_1

    def run(self, images: np.ndarray, bf16: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits float64 (N, 2 + P) and features float32 (N, D) of float32 (N, 3, S, S)."""
        found = [self._run(args_0=_to(image[None], self._input)) for image in images]
        logits, *features = (
            np.concatenate([_from(answer[name], self._outputs[name]) for answer in found])
            for name in sorted(self._outputs)
        )
        if not np.isfinite(logits).all():
            raise UserError("the exported file gives answers that are no numbers: format=onnx")
        return logits.astype(np.float64), features[0] if features else None


def _to(image: np.ndarray, tensor: Mapping) -> np.ndarray:
    """As a file takes it: float32, or int8 with its scale."""
    if tensor["dtype"] == np.float32:
        return np.ascontiguousarray(image)
    scale, zero = tensor["quantization"]
    return np.clip(np.rint(image / scale) + zero, -128, 127).astype(np.int8)


def _from(answer: np.ndarray, tensor: Mapping) -> np.ndarray:
    """float32 of what a file gives."""
    if tensor["dtype"] == np.float32:
        return answer
    scale, zero = tensor["quantization"]
    return ((answer.astype(np.float32) - zero) * scale).astype(np.float32)


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """`quiet`, and without what the libraries' C++ writes to the standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with quiet():
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
