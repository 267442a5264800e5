"""A small network with a card, and pictures for it."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detector.data.preprocess import Preprocess
from detector.data.synthetic.portrait import paint
from detector.models.build import build_network
from detector.predictor import make_card

SIZE = 32
NET = {"name": "cnn3", "dropout": 0.5}
PREPROCESS = Preprocess(SIZE, "crop", "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 10**6)


def content(size: int = SIZE, net: dict = NET, **card: object) -> dict:
    """What a checkpoint holds; further entries of the card by name."""
    torch.manual_seed(0)
    parts = card.get("parts", [])
    preprocess = card.pop("as", None) or Preprocess(
        size, "crop", "bilinear", PREPROCESS.mean, PREPROCESS.std, 10**6
    )
    network = build_network(**net, size=size, classes=2 + len(parts))
    made = make_card(net, preprocess, ("fake", "real"), "made-up")
    return {"state_dict": network.state_dict(), "detector": made | card}


def checkpoint(folder: Path, **given: object) -> Path:
    """`content` in a file."""
    path = folder / "best.ckpt"
    torch.save(content(**given), path)
    return path


def noise(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    """uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(picture: np.ndarray | Image.Image, fmt: str = "PNG", **options: object) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, fmt, **options)
    return stream.getvalue()


def face(seed: int, size: int = 160) -> np.ndarray:
    """A rendered face, uint8 (size, size, 3)."""
    none = (False,) * 4
    return paint((seed,), size=size, difficulty="mid", parts=none, fake=False)[0]
