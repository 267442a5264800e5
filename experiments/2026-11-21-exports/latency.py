"""Times one image in the five forms of each network, by turns, and writes latency.json.

Nothing else may run. In .venv-litert, which has torch, ONNX Runtime and LiteRT:
python experiments/2026-11-21-exports/latency.py [RUNS] [REPEATS]
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from detector.deploy.latency import latencies
from detector.deploy.to_litert import LiteRTBackend
from detector.predicting.onnx_backend import open_onnx, usable_cores
from detector.predictor import Predictor

HERE = Path(__file__).parent
NAMES = ("cnn6", "mobilenetv2", "lite0")


def form(exports: Path, file: str) -> Path:
    """A file, or what it was renamed to."""
    kept = exports / file
    return kept if kept.is_file() else exports / f"{file}.rejected"


def main(runs: str = "runs/exports", repeats: str = "200") -> None:
    torch.set_num_threads(usable_cores())
    found = {"threads": usable_cores(), "repeats": int(repeats), "ms": {}}
    for name in NAMES:
        (checkpoint,) = Path(runs).glob(f"{name}/train/*/*/checkpoints/best.ckpt")
        predictor, exports = Predictor.load(checkpoint), checkpoint.parents[1] / "exports"
        backends = {"torch": predictor.backend}
        for kind in ("", "-int8"):
            backends[f"onnx{kind}"] = open_onnx(form(exports, f"best{kind}.onnx"))[0]
            backends[f"litert{kind}"] = LiteRTBackend(form(exports, f"best{kind}.tflite"))
        size = predictor.preprocess.size
        image = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
        times = latencies(list(backends.values()), image, int(repeats))
        found["ms"][name] = dict(zip(backends, times, strict=True))
        print(name, {key: round(value, 2) for key, value in found["ms"][name].items()})
    (HERE / "latency.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
