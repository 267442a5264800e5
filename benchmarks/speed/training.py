"""`detector.train` itself, with a clock beside it.

    python benchmarks/speed/training.py model=cnn6 data=folder data.root=FOLDER augment=light

Arguments are settings of `detector.train`. Images over the wall time of the training loop in steady
state: augmentation and logging on, the first 10 steps not counted, validation apart. Prints one
line of JSON.
"""

import json
import sys

from detector import cli
from detector.garbage import seldom
from detector.run.heap import before_torch


def main(arguments: list[str]) -> None:
    cfg = cli.compose("train", [*arguments, "heatmaps.every=0", "progress=none"])
    before_torch(cfg.trainer.keep_memory)  # as detector.train does
    with seldom():
        from clock import Clock

        from detector.run.session import Session

        clock, session = Clock(), Session(cfg)
        session.trainer.callbacks.append(clock)
        session.fit()
    found = {
        "images_per_s": clock.images / clock.seconds if clock.seconds else None,
        "validation_images_per_s": clock.validated / clock.validating,
        "images": clock.images,
        "first_step": clock.first_step,
        "precision": session.hardware.precision,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
