"""A training on what nobody faked speaks of its own classes, wherever it says something."""

import io
import logging
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from detector import cli
from detector.evaluate import evaluate
from detector.train import train
from tests.conftest import picture

WORDS = re.compile(rb"p_fakes?|(?<![a-z])(fakes?|reals?|faked|forged)(?![a-z])", re.I)
# Keys of metrics.json that stand for label 0 and 1 whatever these mean, as its readers need them:
# of the format, not of the set. No other one is excused, and no value is.
# The last is a setting of every training.
KEYS = re.compile(rb'"(n_fake|n_real|fake)": (\d|\{)|^  fakes: set$')


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict:
    """Everything that a run and its evaluation leave or say, by where."""
    place = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    (place / "set").mkdir()
    for at in range(80):
        name = f"{20 + at % 40}_{at % 2}_{at % 5}_2017011617{at:04d}.png"
        picture(rng, at % 2 == 1).save(place / "set" / name)
    common = ["progress=lines", f"paths.runs={place}/runs", f"paths.cache={place}/cache"]
    overrides = [
        "data=gender", f"data.root={place}/set", "model=cnn6", "model.preprocess.size=32",
        "data.batch_size=16", "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=2",
        "metrics.replicates=100", "heatmaps.every=1", "heatmaps.mean_images=8",
        "data.normalize={size:40,quality:75}",
    ]  # fmt: skip
    drawn, stream = [], io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    level, write = root.level, Text.set_text

    def set_text(self, text):
        drawn.append(str(text))
        return write(self, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "set_text", set_text)
        patch.setattr("sys.argv", ["train.py", *overrides])
        patch.setattr("sys.stdout", stream)
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            found = train(cli.compose("train", [*common, *overrides]))
            ckpt = f"ckpt={found['folder']}/checkpoints/best.ckpt"
            quick = ["evaluate.replicates=100", "evaluate.device=cpu", ckpt]
            found |= {"evaluation": evaluate(cli.compose("evaluate", [*common, *quick]))["folder"]}
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
    return {"log": stream.getvalue(), "drawn": drawn, "run": Path(found["folder"]),
            "evaluation": Path(found["evaluation"])}  # fmt: skip


def speaks(content: bytes) -> list[str]:
    """Lines with one of the words."""
    lines = (KEYS.sub(b"", line) for line in content.splitlines())
    return [line[:200].decode() for line in lines if WORDS.search(line)]


def test_the_words_would_be_found():
    for line in (b"p_fake 0.3", b"called Fake", b'"recall": "real"', b"12 real images", b"n_fake"):
        assert speaks(line) == [line.decode()]
    assert not speaks(b'really unreal "n_fake": 3 RealESRGAN realign')


def test_the_log(said):
    assert "p_female" in said["log"] and "male" in said["log"]
    assert speaks(said["log"].encode()) == []


@pytest.mark.parametrize("folder", ["run", "evaluation"])
def test_every_text_file(said, folder):
    found, names = {}, set()
    for file in said[folder].rglob("*"):
        if file.suffix in (".json", ".md", ".csv", ".yaml", ".txt"):
            names.add(file.name)
            if lines := speaks(file.read_bytes()):
                found[file.name] = lines
    expected = {"metrics.json", "predictions.csv", "config.yaml", "environment.json"}
    expected |= {"run": {"card.md", "split.csv", "metrics.csv"}}.get(folder, {"report.md"})
    assert expected <= names
    assert found == {}


def test_every_word_that_is_drawn(said):
    drawn = dict.fromkeys(said["drawn"])
    assert any("p_female" in text for text in drawn) and any("male" in text for text in drawn)
    assert [text for text in drawn if speaks(text.encode())] == []


def test_tensorboard(said):
    events = EventAccumulator(str(said["run"] / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()
    names = [name for kind in tags.values() if isinstance(kind, list) for name in kind]
    assert "val/confusion" in names and "val/auroc" in names
    assert [name for name in names if speaks(name.encode())] == []
    texts = [
        value
        for tag in tags["tensors"]
        for event in events.Tensors(tag)
        for value in event.tensor_proto.string_val
    ]
    assert texts and [text for text in texts if speaks(text)] == []


def test_checkpoints(said):
    for name in ("best.ckpt", "last.ckpt"):
        with zipfile.ZipFile(said["run"] / "checkpoints" / name) as archive:
            (pickled,) = [entry for entry in archive.namelist() if entry.endswith("data.pkl")]
            content = archive.read(pickled)
        assert b"female" in content and WORDS.search(content) is None
