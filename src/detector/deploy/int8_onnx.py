"""Static int8 for ONNX Runtime: a scale per output channel, and ranges seen on training images."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from detector.deploy.network import first_line, quiet
from detector.deploy.to_onnx import keep
from detector.errors import UserError
from detector.predicting.onnx_backend import INPUT

RANGES = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
LAYERS = ("Conv", "Gemm", "MatMul")  # that hold weights


class Reader:
    """Batches as onnxruntime asks for them: one at a time, None at the end.

    Histograms are made of all activations that were seen since they were last added to. onnxruntime
    can add to them every so many batches, after which it asks for a range of them, so that no more
    than that is in memory; it also cannot take batches of two sizes at once.

    Args:
        batches: float32 (N, 3, S, S) each, normalized.
        ranged: Whether ranges are asked for; all batches are then held.
    """

    def __init__(self, batches: Iterable[np.ndarray], *, ranged: bool) -> None:
        self._held = list(batches) if ranged else []
        self._batches = iter(self._held if ranged else batches)

    def __len__(self) -> int:
        return len(self._held)

    def set_range(self, start_index: int, end_index: int) -> None:
        """What comes next is these batches, as far as there are so many."""
        self._batches = iter(self._held[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch by the name of the input."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch)}


def quantize_onnx(
    file: Path,
    card: Mapping,
    batches: Iterable[np.ndarray],
    out: Path,
    *,
    ranges: str,
    stay_float: Sequence[str],
) -> None:
    """Write the int8 form of a float file, with quantized and dequantized values as nodes (QDQ).

    Weights and activations are signed: unsigned activations overflow in the 16 bits in which
    processors without VNNI add up two products (onnxruntime's manual, "Quantize ONNX models").

    Args:
        file: Float, as `write_onnx` writes it.
        card: Plain data, kept in the new file's metadata.
        batches: Of training images.
        out: To be written.
        ranges: How a range follows from what was seen, one of RANGES.
        stay_float: `first` and `last` layers that are left as they are.

    Raises:
        UserError: onnxruntime cannot quantize the network.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    histograms = ranges != "minmax"  # which onnxruntime takes batch by batch as it is
    ready = out.with_suffix(".ready.onnx")
    try:
        with quiet():
            # Batch norms go into the convolutions before them; without, each is a step in float.
            quant_pre_process(str(file), str(ready), skip_symbolic_shape=True)
            layers = [n.name for n in onnx.load(ready).graph.node if n.op_type in LAYERS]
            ends = {"first": layers[:1], "last": layers[-1:]}
            quantize_static(
                str(ready),
                str(out),
                Reader(batches, ranged=histograms),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod[RANGES[ranges]],
                extra_options={"CalibStridedMinMax": 1} if histograms else {},
                nodes_to_exclude=[name for end in stay_float for name in ends[end]],
            )
    except UserError:
        raise
    except Exception as error:  # its kinds of error have no public base
        raise UserError(
            f"onnxruntime cannot quantize this network ({first_line(error)}): int8=false"
        ) from error
    finally:
        ready.unlink(missing_ok=True)
    keep(onnx.load(out), card, out)
