"""What a person sees while it runs."""

import logging

import pytest
from lightning.pytorch.callbacks import RichProgressBar

from detector.errors import UserError
from detector.run.progress import EpochLines, bar, choose_progress
from detector.train import train


def test_kinds(monkeypatch):
    assert isinstance(choose_progress("rich")[1][0], RichProgressBar)
    assert isinstance(choose_progress("lines")[1][0], EpochLines)
    assert choose_progress("none") == ("none", [])
    for terminal, kind in ((True, "rich"), (False, "lines")):
        monkeypatch.setattr("sys.stdout.isatty", lambda terminal=terminal: terminal)
        assert choose_progress("auto")[0] == kind
    with pytest.raises(UserError, match="rich, lines, none"):
        choose_progress("loud")


def test_one_line_an_epoch_with_its_numbers(tiny, caplog):
    with caplog.at_level(logging.INFO):
        train(tiny("progress=lines"))
    lines = [message for message in caplog.messages if message.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert all("auroc" in line and line.endswith(" s") for line in lines)


def test_the_indexing_bar_reaches_its_end(capsys):
    move = bar("rich", "indexing")
    for done in range(1, 21):
        move(done, 20)
    assert "100%" in capsys.readouterr().out
    assert bar("lines", "indexing") is None
