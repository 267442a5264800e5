"""CONTRIBUTING.md, followed to the letter: its network and its data set train."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from detector import cli
from detector.data.sources import SOURCES
from detector.train import train
from tests.conftest import picture

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
QUICK = [
    "data.batch_size=16", "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1",
    "progress=none", "metrics.replicates=100", "model.preprocess.size=32",
]  # fmt: skip


@pytest.fixture
def followed(tmp_path, monkeypatch):
    """A copy of conf/ with the page's files, and the page's function registered."""
    text = PAGE.read_text()
    shutil.copytree(cli.conf_dir(), tmp_path / "conf")
    files = re.findall(r"<!-- file: (\S+) -->\n```yaml\n(.*?)```", text, re.DOTALL)
    assert len(files) == 2
    for name, content in files:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(cli, "conf_dir", lambda: tmp_path / "conf")
    (code,) = re.findall(r"<!-- python -->\n```python\n(.*?)```", text, re.DOTALL)
    before = dict(SOURCES)
    exec(code, {"__name__": "contributed"})
    yield tmp_path
    SOURCES.clear()
    SOURCES.update(before)


def test_both_additions_train(followed):
    rng = np.random.default_rng(0)
    (followed / "sets" / "studio").mkdir(parents=True)
    for at in range(40):
        for kind in ("fake", "real"):
            file = followed / "sets" / "studio" / f"{kind}_{'ab'[at % 2]}_{at}.png"
            picture(rng, kind == "fake").save(file)
    places = [f"data_root={followed}/sets", f"paths.runs={followed}/runs",
              f"paths.cache={followed}/cache"]  # fmt: skip
    metrics = train(cli.compose("train", ["model=mobilenetv3", "data=studio", *QUICK, *places]))
    assert metrics["test"]["n"] == 12
    assert "studio-mobilenetv3" in metrics["folder"]


def test_the_page_repeats_no_other_way(followed):
    cfg = cli.compose("train", ["model=timm", "model.net.name=mobilenetv3_small_050"])
    assert cfg.model.name == "mobilenetv3_small_050"
