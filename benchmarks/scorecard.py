"""How long does the scorecard of cnn6 on 300 pictures take?

    python benchmarks/scorecard.py

Grad-CAM at 224 px with the settings of conf/gradcam.yaml: occlusion on a 7x7 grid, insertion and
deletion in 20 steps, eight networks with random weights as a control. On synthetic faces (made
once, into a temporary folder), by a network that was trained on a few batches: what it has learnt
changes nothing of the cost. The set is indexed before.
"""

import tempfile
import time
from pathlib import Path

import torch

from detector import cli
from detector.gradcam import gradcam
from detector.train import train

IMAGES = 300


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        common = [f"paths.runs={folder}/runs", f"paths.cache={folder}/cache", "progress=none"]
        made = [f"data.root={folder}/faces", "synthetic.n=2000"]
        few = ["trainer.max_epochs=1", "trainer.limit_train_batches=0.1", "heatmaps.every=0"]
        run = train(cli.compose("train", ["model=cnn6", "data=synthetic", *made, *few, *common]))
        checkpoint = Path(run["folder"]) / "checkpoints" / "best.ckpt"
        asked = [
            "mode=scorecard",
            f"ckpt='{checkpoint}'",
            f"scorecard.images={IMAGES}",
            "scorecard.part=test",
        ]
        started = time.monotonic()
        found = gradcam(cli.compose("gradcam", [*asked, *common]))
        wall = time.monotonic() - started
    print(f"cnn6, 224 px, cpu, {torch.get_num_threads()} threads")
    print(f"{found['n']} pictures, {found['masks']['pixels']['n']} with a mask: {wall:.0f} s")


if __name__ == "__main__":
    main()
