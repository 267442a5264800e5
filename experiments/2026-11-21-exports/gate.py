"""Does int8 make pictures look strange to the gate, whose features it rounds? Prints the shares.

The gate is fitted on validation with the float network, as training does; the test part is new.
In .venv-litert, after study.sh: python experiments/2026-11-21-exports/gate.py [RUNS]
"""

import sys
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from detector import cli
from detector.deploy.parity import ask
from detector.deploy.pictures import find_pictures
from detector.deploy.to_litert import LiteRTBackend
from detector.evaluation.gate import Gate
from detector.evaluation.trained import open_trained
from detector.predicting.onnx_backend import open_onnx

ALPHA = 0.05


def main(runs: str = "runs/exports") -> None:
    for name in ("cnn6", "mobilenetv2", "lite0"):
        (checkpoint,) = Path(runs).glob(f"{name}/train/*/*/checkpoints/best.ckpt")
        cfg = cli.compose("export", [f"ckpt='{checkpoint}'"])
        trained = open_trained(str(checkpoint), Path(runs), "cpu")
        cache = Path(OmegaConf.select(cfg, "paths.cache")).expanduser()
        pictures = find_pictures(cfg, trained, cache)
        exports = checkpoint.parents[1] / "exports"
        backends = {"torch": trained.predictor.backend}
        for kind, opener in (("best-int8.onnx", lambda f: open_onnx(f)[0]),
                             ("best-int8.tflite", LiteRTBackend)):  # fmt: skip
            file = exports / kind
            backends[kind] = opener(file if file.is_file() else Path(f"{file}.rejected"))
        card = trained.predictor.card
        seen = ask(list(backends.values()), card, pictures.check, 32)
        new = ask(list(backends.values()), card, pictures.ranked, 32)
        gate = Gate.fit(seen[0].features, pictures.check.groups, seed=0, alpha=ALPHA)
        for backend, told in zip(backends, new, strict=True):
            far = gate.unlikeness(told.features)
            says = f"{name} {backend}: {np.mean(far > 1):.3f} of {len(far)} test pictures refused"
            print(f"{says}, median unlikeness {np.median(far):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
