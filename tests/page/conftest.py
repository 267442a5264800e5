"""Pages that are served while tests run: one with a network trained on photographs, one without.

The network has random weights and says nothing about faces; what it says is compared with the
Predictor, and its run folder's files are written here by hand.
"""

import csv
import io
import json
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from detector import cli
from detector.data.preprocess import Preprocess
from detector.data.synthetic.portrait import paint
from detector.models.build import build_network
from detector.predictor import make_card, read_checkpoint
from tests.predicting.made import NET, PREPROCESS

TESTED = 120


def face(seed: int, size: int = 192) -> Image.Image:
    """A rendered face, which was never compressed."""
    none = (False,) * 4
    return Image.fromarray(paint((seed,), size=size, difficulty="mid", parts=none, fake=False)[0])


def packed(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def write_run(
    runs: Path,
    name: str = "studio-cnn3",
    source: str = "folder",
    seed: int = 0,
    preprocess: Preprocess = PREPROCESS,
) -> Path:
    """A finished run's folder, as far as the page reads it; `predictions.csv` is made up."""
    torch.manual_seed(seed)
    folder = runs / "train" / name / "2026-01-02_03-04-05"
    (folder / "checkpoints").mkdir(parents=True)
    card = make_card(NET, preprocess, ("fake", "real"), name.split("-")[0])
    # Every score gets a verdict, so that what is said does not hang on random weights.
    card["calibration"] = {
        "temperature": 1.0, "threshold": 0.5, "unsure": [0.5, 0.5], "n": 90, "trained_on": "studio",
    }  # fmt: skip
    network = build_network(**NET, size=PREPROCESS.size, classes=2)
    content = {"state_dict": network.state_dict(), "detector": card}
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    assert read_checkpoint(folder / "checkpoints" / "best.ckpt")
    data = {"name": name.split("-")[0], "source": source, "synthetic": {"size": 96}}
    config = {"data": data, "model": {"name": name.split("-")[1]}}
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    metrics = {"class_names": ["fake", "real"], "test": {"auroc": {"value": 0.875}}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    rows = [(f"{at}.jpg", at % 2, at / (TESTED - 1)) for at in range(TESTED)]
    with open(folder / "predictions.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("path", "label", "split", "p_fake"))
        out.writerows((path, label, "test", score) for path, label, score in rows)
        out.writerow(("other.jpg", 0, "val", 0.5))
    with open(folder / "split.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("path", "label", "group", "split"))
        out.writerows((path, label, f"g{path}", "test") for path, label, _ in rows)
    return folder


@dataclass
class Server:
    """A page that is being served.

    Args:
        address: Of the page.
        serving: Its `Serving`.
        runs: Folder of its runs.
    """

    address: str
    serving: object
    runs: Path


def _serve(runs: Path, *overrides: str) -> tuple[Server, threading.Thread]:
    from detector.page.server import Serving

    cfg = cli.compose(
        "serve",
        [f"paths.runs={runs}", "serve.port=0", "serve.device=cpu", "serve.heatmap=gradcam",
         *overrides],
    )  # fmt: skip
    serving = Serving(cfg)
    thread = threading.Thread(target=serving.run, daemon=True)
    thread.start()
    return Server(serving.address, serving, runs), thread


def _stop(server: Server, thread: threading.Thread) -> None:
    server.serving.server.should_exit = True
    thread.join(15)


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """Two networks trained on photographs, as their folders say, and one on rendered faces."""
    runs = tmp_path_factory.mktemp("page") / "runs"
    write_run(runs)
    write_run(runs, "studio-cnn9", seed=1)
    write_run(runs, "synthetic-cnn3", source="synthetic", seed=2)
    server, thread = _serve(
        runs, "serve.request_seconds=3", "serve.max_mb=2", "serve.max_pixels=2_000_000"
    )
    yield server
    _stop(server, thread)


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory):
    """A network that has only seen rendered faces."""
    runs = tmp_path_factory.mktemp("page") / "runs"
    write_run(runs, "synthetic-cnn3", source="synthetic")
    server, thread = _serve(runs)
    yield server
    _stop(server, thread)
