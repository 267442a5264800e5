"""How long until something happens: help, the first training step, the demonstration."""

import statistics
import sys
from pathlib import Path

from sets import faces
from watched import watched

HERE = Path(__file__).parent
# What a training imports of others' code before its first step.
BARE = """
import cv2, filelock, hydra, numpy, omegaconf, PIL.Image, torch, torchmetrics.classification
import lightning.pytorch, lightning.pytorch.loggers, torch.utils.tensorboard
import torchvision.transforms.v2
import json, time
print(json.dumps({"imported": time.time()}))
"""
ROUNDS, DEMOS = 9, 3


def start(folder: Path) -> dict:
    """Seconds: medians of nine, and each of three demonstrations."""
    pictures = faces(folder, 200, 224)
    training = [
        sys.executable, str(HERE / "training.py"), "model=cnn6", "data=folder",
        f"data.root={pictures}", "data.near_copies=false", "trainer.max_epochs=1",
        "trainer.limit_train_batches=2", f"paths.runs={folder}/runs", f"paths.cache={folder}/cache",
    ]  # fmt: skip
    watched(training)  # index, pixels, and the pages of the libraries
    helps, imports, firsts = [], [], []
    for _ in range(ROUNDS):
        helps.append(watched([sys.executable, "-m", "detector.train", "--help"]).seconds)
        bare = watched([sys.executable, "-c", BARE])
        imports.append(bare.told["imported"] - bare.started)
        seen = watched(training)
        firsts.append(seen.told["first_step"] - seen.started)
    demos = []
    for at in range(DEMOS):
        seen = watched(
            [sys.executable, "-m", "detector.train", "experiment=demo",
             f"paths.runs={folder}/runs{at}", f"paths.cache={folder}/demo{at}"],
            DETECTOR_DATA=str(folder / f"data{at}"),
        )  # fmt: skip
        demos.append(seen.seconds)
    ratios = [first / bare for first, bare in zip(firsts, imports, strict=True)]
    return {
        "help_s": statistics.median(helps),
        "imports_s": statistics.median(imports),
        "first_step_s": statistics.median(firsts),
        "first_step / imports": statistics.median(ratios),
        "demo_s": demos,
    }
