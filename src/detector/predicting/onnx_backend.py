"""Exported networks, run by ONNX Runtime: no torch is imported, nor need it be installed."""

import math
import os
from pathlib import Path

import numpy as np

from detector.errors import UserError
from detector.predicting.card import Card, check_card
from detector.predicting.onnx_file import read_onnx

INPUT, LOGITS, FEATURES = "images", "logits", "features"
INSTALL = "pip install onnxruntime"
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class OnnxBackend:
    """An exported network; several threads may call it.

    Args:
        model: The whole file, as `read_onnx` gives it.
        card: Its card.
        source: Named in error messages.
        threads: To compute with; None for as many as this process may use.

    Raises:
        UserError: onnxruntime is not installed, or cannot run the file, or the file is not a
            network such as the card describes, or gives its gate nothing to look at.
    """

    name = "onnx"

    def __init__(self, model: bytes, card: Card, source: str, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"{source} is run by onnxruntime: {INSTALL}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.load_model_format", "ONNX")  # what was checked
        options.log_severity_level = 4  # what it has to say of a file becomes one line, below
        self._source, self._logits = source, card.logits
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its kinds of error have no public base
            raise UserError(
                f"{source}: onnxruntime {onnxruntime.__version__} cannot run it"
                f" ({_first_line(error)}): export it again with python -m detector.export"
            ) from error
        self._check_shapes(card.preprocess.size)
        if card.gate is not None:
            self._check_features(len(card.gate.mean))

    def _check_shapes(self, size: int) -> None:
        inputs = [(one.name, one.type, one.shape) for one in self._session.get_inputs()]
        outputs = [(one.name, one.type) for one in self._session.get_outputs()]
        self._outputs = [name for name, _ in outputs]
        fits = (
            len(inputs) == 1
            and inputs[0][:2] == (INPUT, "tensor(float)")
            and len(shape := inputs[0][2]) == 4
            and isinstance(shape[0], str)  # any number of pictures
            and list(shape[1:]) == [3, size, size]
            and self._outputs in ([LOGITS], [LOGITS, FEATURES])
            and all(kind == "tensor(float)" for _, kind in outputs)
        )
        if not fits:
            raise UserError(
                f"{self._source} takes or gives something else than a network of detector at {size}"
                " px: export it again with python -m detector.export"
            )

    def _check_features(self, wanted: int) -> None:
        given = [one.shape for one in self._session.get_outputs() if one.name == FEATURES]
        # A width that is known only when the file runs is checked with the first picture.
        if not given or (isinstance(width := given[0][-1], int) and width != wanted):
            has = f"{given[0][-1]} features" if given else "no features"
            raise UserError(
                f"{self._source} gives {has}, and its gate looks at {wanted}: export it again with"
                " python -m detector.export"
            )

    def run(self, images: np.ndarray, bf16: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """As `detector.predicting.backend.Backend` says; `bf16` changes nothing.

        Raises:
            UserError: The file gives something else than the logits of the card.
        """
        try:
            # What comes channels last is copied: ONNX Runtime reads memory in order.
            found = self._session.run(self._outputs, {INPUT: np.ascontiguousarray(images)})
        except Exception as error:
            raise UserError(
                f"{self._source}: onnxruntime gave up ({_first_line(error)})"
            ) from error
        logits, features = found[0].astype(np.float64), found[1] if len(found) > 1 else None
        if logits.shape != (len(images), self._logits):
            raise UserError(
                f"{self._source} gives no {self._logits} numbers for each picture: export it again"
            )
        return logits, features


def open_onnx(path: Path | str, threads: int | None = None) -> tuple[OnnxBackend, dict]:
    """An exported network, ready to answer, and its card.

    Args:
        path: A file that `detector.export` wrote.
        threads: As for `OnnxBackend`.

    Raises:
        UserError: The file is missing, foreign or damaged, or onnxruntime is not installed.
    """
    model, card = read_onnx(path)
    source = str(path)
    try:
        check_card(card, source)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{source} has an incomplete card ({error}): export it again with python -m"
            " detector.export"
        ) from error
    return OnnxBackend(model, Card.read(card, source), source, threads), card


def usable_cores() -> int:
    """Processors that this process may use: by its affinity, its container's share, and
    OMP_NUM_THREADS, which torch keeps to as well. ONNX Runtime looks at the machine alone."""
    known = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        known.append(len(os.sched_getaffinity(0)))
    try:
        quota, period = _QUOTA.read_text().split()
        known.append(math.ceil(int(quota) / int(period)))  # "max" is no number: no limit
    except (OSError, ValueError, ZeroDivisionError):
        pass
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        known.append(int(asked))
    return max(1, min(known))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
