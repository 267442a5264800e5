"""Embeddings are what the backbone gives, view by view, and are made once."""

import itertools
import os

import numpy as np
import pytest
import torch
from torch import nn

from detector.data import embeddings
from detector.data.embeddings import PLAIN, Embeddings, Wanted, embedding_key, load_embeddings

N, PIXELS = 12, 4
LABELS = np.arange(N) % 2
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 3, PIXELS, PIXELS), dtype=np.uint8)


class Views(torch.utils.data.Dataset):
    """A picture, brighter with each view where it is augmented."""

    def __init__(self, augmented):
        self.augmented = augmented

    def __len__(self):
        return N

    def __getitem__(self, key):
        view, row = key
        assert (view == PLAIN) is not self.augmented
        image = torch.from_numpy(IMAGES[row])
        return (image + 7 * (view + 1) if self.augmented else image), int(LABELS[row]), row


def embed(images):
    return images.float().flatten(1)[:, :5] / 255


def made(folder, wanted, key="k", **options):
    options = {"embed": embed, "batch_size": 5, "workers": 0, "progress": None} | options
    return load_embeddings(
        options.pop("embed"), Views, wanted, key=key, cache_dir=folder, **options
    )


def expected(view, row):
    image = IMAGES[row] if view == PLAIN else IMAGES[row] + np.uint8(7 * (view + 1))
    return (image.reshape(-1)[:5] / 255).astype(np.float32)


def test_each_epoch_gets_its_view_and_validation_the_plain_one(tmp_path):
    wanted = Wanted(np.array([1, 5, 8]), np.array([0, 2, 5, 9]), views=3)
    seen = []
    file = made(tmp_path, wanted, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (15, 15)
    training = Embeddings(file, wanted, LABELS, training=True)
    for epoch in range(7):
        got = training.__getitems__([(epoch, 9), (epoch, 0)])
        for (value, label, row), want in zip(got, (9, 0), strict=True):
            assert row == want and label == LABELS[want]
            assert np.array_equal(value, expected(epoch % 3, want))
    plain = Embeddings(file, wanted, LABELS, training=False)
    for row in (1, 5, 8):
        value, label, same = plain[(4, row)]
        assert np.array_equal(value, expected(PLAIN, row)) and (label, same) == (LABELS[row], row)


def test_without_augmentation_training_sees_the_plain_ones(tmp_path):
    wanted = Wanted(np.arange(N), np.array([3, 4]), views=0)
    file = made(tmp_path, wanted)
    assert np.load(file).shape == (N, 5)
    value, _, _ = Embeddings(file, wanted, LABELS, training=True)[(6, 4)]
    assert np.array_equal(value, expected(PLAIN, 4))


def test_they_are_made_once_and_anew_where_the_file_is_damaged(tmp_path):
    wanted = Wanted(np.arange(4), np.arange(6), views=2)
    file = made(tmp_path, wanted)
    before = file.read_bytes()

    def never(_):
        raise AssertionError("made again")

    assert made(tmp_path, wanted, embed=never) == file
    file.write_bytes(before[:50])
    assert made(tmp_path, wanted) == file and file.read_bytes() == before


def test_a_process_that_dies_leaves_nothing_to_be_mistaken(tmp_path):
    def dies(images):
        raise MemoryError

    wanted = Wanted(np.arange(4), np.arange(6), views=2)
    with pytest.raises(MemoryError):
        made(tmp_path, wanted, embed=dies)
    assert not [f for f in (tmp_path / "embeddings").iterdir() if f.suffix != ".lock"]


def test_what_a_killed_process_left_is_removed_and_use_is_noted(tmp_path):
    wanted = Wanted(np.arange(4), np.arange(6), views=2)
    (tmp_path / "embeddings").mkdir()
    for name in (".k.npy.0123abcd.tmp", ".other.npy.0123abcd.tmp"):
        (tmp_path / "embeddings" / name).touch()
    file = made(tmp_path, wanted)
    left = {f.name for f in file.parent.iterdir() if f.suffix != ".lock"}
    assert left == {"k.npy", ".other.npy.0123abcd.tmp"}
    os.utime(file, (0, 0))  # caches that nobody used for long are removed first
    assert made(tmp_path, wanted) == file and file.stat().st_mtime > 0


def test_views_of_a_million_pictures_are_named_one_by_one():
    wanted = Wanted(np.arange(3), np.arange(10**6), views=1000)
    assert len(wanted) == 3 + 10**9
    later = itertools.islice(wanted.keys(augmented=True), 10**6 - 1, 10**6 + 1)
    assert list(later) == [(0, 10**6 - 1), (1, 0)]


def test_the_key_sees_the_libraries(monkeypatch):
    network = nn.Conv2d(3, 2, 1)
    before = embedding_key(network, (), "a")
    monkeypatch.setattr(embeddings, "LIBRARIES", [*embeddings.LIBRARIES[1:], "0"])
    assert embedding_key(network, (), "a") != before


def test_the_key_sees_every_weight_buffer_and_setting():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))
    keys = {embedding_key(network, ("2",), "a")}
    assert embedding_key(network, ("2",), "a") in keys
    keys.add(embedding_key(network, ("2",), "b"))
    network[1].running_mean += 1
    keys.add(embedding_key(network, ("2",), "a"))
    with torch.no_grad():
        network[0].bias[1] += 1e-6
    keys.add(embedding_key(network, ("2",), "a"))
    assert len(keys) == 4
    with torch.no_grad():  # but not the head's
        network[2].weight += 1
    assert embedding_key(network, ("2",), "a") in keys
