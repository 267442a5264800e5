"""What computes: anything that turns normalized images into logits.

`TorchBackend` runs the networks of this project. `OnnxBackend` (`detector.predicting.onnx_backend`,
function `open_onnx(path)`, which gives a backend and the card) runs an exported file with
onnxruntime alone. `detector.predictor` knows no more of either than this.
"""

from typing import Protocol

import numpy as np


class Backend(Protocol):
    """From images to logits.

    Attributes:
        name: `torch` or `onnx`.
    """

    name: str

    def run(self, images: np.ndarray, bf16: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Answers a batch.

        Args:
            images: float32 (N, 3, S, S), normalized.
            bf16: Compute in bfloat16 where the backend can.

        Returns:
            Logits, float64 (N, 2 + P): fake, real, then a part each; and features, float32
            (N, D), as `detector.models.penultimate` has them, or None where the file that is run
            gives none.
        """
        ...
