"""Which networks are offered, and that figures belong to the same weights."""

import json

import numpy as np
import pytest

from detector.errors import UserError
from detector.page.networks import Networks, find_networks, is_rendered, named_network
from tests.page.conftest import TESTED, write_run


def scorecard(runs, folder, *, value=1.3, explained="fake", untrained=False, at="a"):
    lift = {"value": value, "low": 1.1, "high": 1.5, "holds": True}
    content = {
        "checkpoint": str(folder / "checkpoints" / "best.ckpt"),
        "explained": explained,
        "set": "studio",
        "options": {"untrained": untrained, "methods": ["hirescam"]},
        "masks": {
            "pixels": {"n": 0, "methods": {}},
            "parts": {"n": 40, "methods": {"hirescam": {"lift": lift}}},
        },
    }
    target = runs / "gradcam" / "studio-scorecard" / at
    target.mkdir(parents=True)
    (target / "scorecard.json").write_text(json.dumps(content))


def test_networks_of_photographs_come_first_and_keys_are_unique(tmp_path):
    for name, source in (("a-cnn3", "folder"), ("b-cnn3", "folder"), ("s-cnn3", "synthetic")):
        write_run(tmp_path, name, source)
    networks = Networks(find_networks(tmp_path), "cpu", 1)
    assert [n.on_photographs for n in networks.all.values()] == [True, True, False]
    assert len(networks.all) == 3 and not networks.demonstration
    assert not any(str(tmp_path) in n.key + n.label for n in networks.all.values())


def test_what_is_not_finished_or_not_of_faces_is_left_out(tmp_path):
    (write_run(tmp_path, "a-cnn3") / "metrics.json").unlink()
    (write_run(tmp_path, "b-cnn3") / "predictions.csv").write_text("path,label\na.jpg,0\n")
    other = write_run(tmp_path, "c-cnn3") / "metrics.json"
    other.write_text(other.read_text().replace("fake", "female").replace("real", "male"))
    (write_run(tmp_path, "d-cnn3") / "checkpoints" / "best.ckpt").rename(tmp_path / "last.ckpt")
    assert find_networks(tmp_path) == []
    assert Networks([], "cpu", 1).demonstration
    with pytest.raises(UserError, match="no such network"):
        Networks([], "cpu", 1).open(None)


def test_the_test_part_alone_is_read(tmp_path):
    write_run(tmp_path)
    (network,) = find_networks(tmp_path)
    measured = network.tested
    assert len(measured.p_fake) == TESTED and len(set(measured.groups)) == TESTED
    assert measured.fake.sum() == TESTED / 2
    assert np.allclose(measured.p_fake, np.linspace(0, 1, TESTED))


def test_a_scorecard_counts_for_its_own_weights_alone(tmp_path):
    mine, other = write_run(tmp_path, "a-cnn3"), write_run(tmp_path, "b-cnn3")
    scorecard(tmp_path, mine)
    scorecard(tmp_path, other, explained="real", at="b")
    scorecard(tmp_path, other, untrained=True, at="c")
    (tmp_path / "gradcam" / "x" / "y").mkdir(parents=True)
    (tmp_path / "gradcam" / "x" / "y" / "scorecard.json").write_text("{}")
    found = {network.key.split("/")[0]: network.heatmaps for network in find_networks(tmp_path)}
    assert (found["a-cnn3"]["hirescam"].value, found["a-cnn3"]["hirescam"].n) == (1.3, 40)
    assert found["b-cnn3"] == {}


@pytest.mark.parametrize(
    "data, rendered",
    [
        ({"source": "synthetic"}, True),
        ({"source": "hardfake"}, False),
        ({"source": "joint", "sets": ["synthetic", "synthetic synthetic.seed=1"]}, True),
        ({"source": "joint", "sets": ["synthetic", "hardfake"]}, False),
    ],
)
def test_rendered_faces_are_known_by_their_source(data, rendered):
    assert is_rendered(data) is rendered


@pytest.mark.parametrize(
    "of, rendered", [("synthetic", True), ("ciplab", False), ("blended", True), (None, True)]
)
def test_blends_are_what_they_were_made_of(tmp_path, of, rendered):
    if of is not None:
        (tmp_path / "about.json").write_text(json.dumps({"of": of}))
    assert is_rendered({"source": "blended", "root": str(tmp_path)}) is rendered
    member = f"blended data.root={tmp_path} data.name=mine"
    assert is_rendered({"source": "joint", "sets": ["synthetic", member]}) is rendered
    assert not is_rendered({"source": "joint", "sets": ["hardfake", member]})


@pytest.mark.parametrize("name, photographs", [("studio", True), ("blended", False)])
def test_a_checkpoint_alone_that_does_not_tell_has_no_photographs(tmp_path, name, photographs):
    folder = write_run(tmp_path, f"{name}-cnn3")
    alone = tmp_path / "sent.ckpt"
    (folder / "checkpoints" / "best.ckpt").rename(alone)
    assert named_network(alone).on_photographs is photographs


def test_one_network_by_name(tmp_path):
    folder = write_run(tmp_path)
    for what in (folder, folder / "checkpoints" / "best.ckpt"):
        assert named_network(what).tested is not None
    alone = tmp_path / "alone" / "b" / "sent.ckpt"
    alone.parent.mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").rename(alone)
    network = named_network(alone)
    assert network.tested is None and network.key == "sent" and network.on_photographs
    with pytest.raises(UserError, match=r"no such|no checkpoint|there is no"):
        named_network(tmp_path / "nowhere.ckpt")


def test_few_networks_stay_open_and_a_damaged_one_names_no_path(tmp_path):
    write_run(tmp_path, "a-cnn3")
    folder = write_run(tmp_path, "b-cnn3")
    networks = Networks(find_networks(tmp_path), "cpu", 1)
    keys = sorted(networks.all)
    first = networks.open(keys[0])
    assert networks.open(keys[0]) is first
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError) as error:
        networks.open(keys[1])
    assert str(tmp_path) not in str(error.value)
