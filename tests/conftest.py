"""Small sets of made-up pictures, and a training that takes a second."""

import logging
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import cli


def picture(rng: np.random.Generator, fake: bool, size: int = 48) -> Image.Image:
    """Coloured noise; fakes carry a bright square in a random place."""
    small = rng.integers(40, 160, (6, 6, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))
    if fake:
        y, x = rng.integers(2, size - 18, 2)
        pixels[y : y + 16, x : x + 16] = 250
    return Image.fromarray(pixels)


def make_set(root: Path, n: int = 40, seed: int = 0) -> Path:
    """`root/{fake,real}/` with n pictures each."""
    rng = np.random.default_rng(seed)
    for name in ("fake", "real"):
        (root / name).mkdir(parents=True)
        for at in range(n):
            picture(rng, name == "fake").save(root / name / f"{name}_{at:03d}.png")
    return root


def fit_until_killed(session, epoch: int, batch: int) -> None:
    """Trains up to a step, both counted from 0, at which the process dies."""
    step = session.module.training_step

    def killed(given, batch_idx):
        if (session.trainer.current_epoch, batch_idx) == (epoch, batch):
            raise MemoryError("killed")
        return step(given, batch_idx)

    session.module.training_step = killed
    with pytest.raises(MemoryError, match="killed"):
        session.fit()


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """What a shell runs in the background ignores SIGINT, and so would what the tests start."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def root_logger():
    """A command run in this process leaves Hydra's level, and handlers of closed streams."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    yield
    root.setLevel(level)
    # pytest's own come and go with each phase of a test: only what others added is taken away.
    for handler in root.handlers[:]:
        if handler not in handlers and not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory) -> Path:
    """40 fakes and 40 reals that a small network tells apart."""
    return make_set(tmp_path_factory.mktemp("tiny") / "set")


@pytest.fixture
def tiny(tiny_set, tmp_path):
    """Compose a training of a few seconds; extra overrides as arguments."""

    def config(*overrides: str, root: Path = tiny_set):
        return cli.compose(
            "train",
            [
                "data=folder",
                f"data.root={root}",
                "model=cnn6",
                "model.preprocess.size=32",
                "data.batch_size=16",
                "data.num_workers=0",
                "trainer=cpu",
                "trainer.max_epochs=2",
                "progress=none",
                "metrics.replicates=100",
                "heatmaps.every=0",
                f"paths.runs={tmp_path}/runs",
                f"paths.cache={tmp_path}/cache",
                *overrides,
            ],
        )

    return config
