"""Scorecards of networks of which it is known where they look."""

import numpy as np
import pytest
import torch
from torch import nn

from detector.data.preprocess import Preprocess
from detector.evaluation.compare import holm
from detector.explain import answers, where
from detector.explain.answers import CENTER, OCCLUSION
from detector.explain.regions import REGIONS, regions
from detector.explain.scorecard import Options, Scorecard
from detector.explain.scorecard_figure import scorecard_figure
from detector.explain.scorecard_report import headlines, markdown
from detector.explain.truth import Truth
from detector.models.build import build_network
from detector.predictor import Predictor, make_card
from tests.explain.planted import watch_brightness

SIZE, COUNT = 64, 24
MOUTH = REGIONS.index("mouth")
OPTIONS = {
    "methods": ("gradcam", "hirescam"), "slow_images": 6, "center_sigma": 0.25, "tolerance": 0.0,
    "steps": 5, "grid": 6, "faithfulness_images": 24, "compared_images": 24, "road_images": 4,
    "sanity_images": 8, "stages": 3, "random_networks": 6, "bf16": False, "replicates": 200,
}  # fmt: skip


def predictor(kind):
    """Of a network that is sure of a fake where there is light, or that has learnt nothing."""
    preprocess = Preprocess(SIZE, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**6)
    torch.manual_seed(0)
    network = build_network("cnn3", size=SIZE, classes=2, dropout=0.5)
    if kind == "sees":
        network = watch_brightness(network)
        with torch.no_grad():  # logits large enough for probabilities to move
            network.classifier[-1].weight *= 40
            norms = (m for m in network.features.modules() if isinstance(m, nn.BatchNorm2d))
            next(norms).bias[0] = -0.4
    card = make_card({"name": "cnn3", "dropout": 0.5}, preprocess, ("fake", "real"), "planted")
    return Predictor({"detector": card, "state_dict": network.state_dict()}, "planted")


def truth():
    """Dark faces; of fakes the mouth, which is not in the middle of the picture, is bright."""
    rng = np.random.default_rng(0)
    images, labels, masks, bits = [], [], [], []
    for at in range(COUNT):
        x, y = rng.uniform(14, 50), rng.uniform(14, 44)
        points = np.array([(-5.0, 0), (5, 0), (0, 6), (-4, 11), (4, 11)]) + np.array([x, y])
        label = regions(points, SIZE)
        image = rng.integers(90, 120, (SIZE, SIZE, 3)).astype(np.uint8)
        fake = at % 2 == 0
        mask = (label == MOUTH) & fake
        image[mask] = 255
        images.append(image)
        labels.append(label)
        masks.append(mask)
        bits.append([0, 0, 0, 1] if fake else [-1] * 4)
    bits = np.array(bits, np.int8)
    bits[0] = [1, 0, 0, 0]  # so that both kinds occur; its mouth is bright all the same
    return Truth(
        np.arange(COUNT), np.array(images), np.array(labels), np.full(COUNT, True),
        np.array(masks), bits, {}, {"planted": COUNT // 2},
    )  # fmt: skip


def scored(kind="sees", explained=0, groups=None, known=None, **options):
    groups = np.arange(COUNT) if groups is None else groups
    card = Scorecard(
        predictor(kind), known or truth(), groups, explained, Options(**OPTIONS | options), seed=0
    )
    return card, card.measure()


@pytest.fixture(scope="module")
def sees():
    return scored()


@pytest.fixture(scope="module")
def learnt_nothing():
    return scored("random")


def test_a_network_that_looks_at_the_edit_is_said_to(sees):
    _, found = sees
    pixels = found["masks"]["pixels"]
    assert pixels["n"] == COUNT // 2 and set(pixels["methods"]) == {
        "gradcam",
        "hirescam",
        OCCLUSION,
    }
    for method, one in pixels["methods"].items():
        assert one["lift"]["holds"] and one["lift"]["low"] > 1, method
        assert set(one["lift"]["lifts"]) >= {"centre", "uniform", "others"}
        assert ("random" in one["lift"]["lifts"]) == (method != OCCLUSION)
        # The cells of occlusion are even, and HiResCAM's gradient goes to one cell of each pool.
        assert one["pointing"]["value"] > {"gradcam": 0.8}.get(method, 0.3)
        assert one["pixel_auroc"]["value"] > 0.8
    assert found["regions"]["gradcam"]["mouth"]["holds"]
    assert not any(found["regions"]["gradcam"][name]["holds"] for name in ("forehead", "brow_left"))
    changed = found["faithfulness"]
    for method in ("gradcam", "hirescam", OCCLUSION):
        assert changed[method]["insertion"]["lead"]["low"] > 0
        assert (
            found["occlusion"].get(method, {"value": 1})["value"]
            > found["occlusion"][CENTER]["value"]
        )
    assert changed["gradcam"]["deletion"]["lead"]["value"] < 0
    assert changed["gradcam"]["road"]["value"] > 0.1
    assert found["occlusion"]["gradcam"]["low"] > found["occlusion"][CENTER]["high"]


def test_shares_are_what_a_loop_over_the_maps_gives(sees):
    card, found = sees
    maps, masks = card.maps["gradcam"], card.truth.masks
    by_hand = [m[k].sum() / m.sum() for m, k in zip(maps, masks, strict=True) if k.any()]
    one = found["masks"]["pixels"]["methods"]["gradcam"]["share"]
    assert one["value"] == pytest.approx(np.mean(by_hand), rel=1e-5)
    middle = [card.center[k].sum() for k in masks if k.any()]
    assert one["controls"]["centre"]["value"] == pytest.approx(np.mean(middle), rel=1e-5)
    area = [k.mean() for k in masks if k.any()]
    assert one["controls"]["uniform"]["value"] == pytest.approx(np.mean(area), rel=1e-5)
    shares = card.values["gradcam"]["pixels_share"]
    np.testing.assert_allclose(shares[masks.any((1, 2))], by_hand, rtol=1e-5)


def test_a_network_that_has_learnt_nothing_is_not_said_to_look_anywhere(learnt_nothing):
    _, found = learnt_nothing
    for one in found["masks"]["pixels"]["methods"].values():
        assert not one["lift"]["holds"]
    assert not any(one["holds"] for one in found["regions"]["gradcam"].values())
    assert not any("**Maps of gradcam point" in line for line in headlines(as_result(found)))


def test_maps_of_what_was_learnt_do_not_survive_random_weights(sees):
    _, found = sees
    stages = found["sanity"]["gradcam"]
    assert len(stages) == 3 and stages[-1]["value"] < 0.5


def test_one_group_proves_nothing(sees):
    _, found = scored(groups=np.zeros(COUNT, int))
    gradcam = found["masks"]["pixels"]["methods"]["gradcam"]
    alone = sees[1]["masks"]["pixels"]["methods"]["gradcam"]
    assert gradcam["share"]["value"] == alone["share"]["value"]
    assert not gradcam["lift"]["holds"] and alone["lift"]["holds"]


def test_the_other_class_has_its_own_evidence():
    card, found = scored(explained=1)
    image = card.truth.images[:1]
    assert card.score(image) == pytest.approx(1 - card.predictor.scores(image))
    assert not found["masks"]["pixels"]["methods"]["gradcam"]["lift"]["holds"]


def test_slow_methods_take_the_first_pictures():
    card, found = scored(methods=("ablationcam",), random_networks=0)
    assert len(card.maps["ablationcam"]) == 6 and "ablationcam" not in found["sanity"]
    assert found["masks"]["pixels"]["methods"]["ablationcam"]["share"]["n"] == 3
    assert found["faithfulness"]["ablationcam"]["insertion"]["n"] <= 6


def nothing_known():
    known = truth()
    blank = {
        "masks": np.zeros_like(known.masks), "bits": np.full_like(known.bits, -1),
        "labels": np.zeros_like(known.labels), "faces": np.full(COUNT, False), "origin": {},
    }  # fmt: skip
    return Truth(**vars(known) | blank)


def as_result(found):
    return found | {
        "network": "planted-cnn3", "trained_on": "planted", "set": "planted", "part": "test",
        "explained": "fake", "class_names": ["fake", "real"], "n_of_class": [12, 12],
        "left_out_as_trained_on": 0, "training_known": True, "masks_from": {"planted": 12},
        "precision_of_changed": "32-true",
        "options": OPTIONS,
    }  # fmt: skip


def test_the_report_and_the_figure_say_what_was_measured(sees):
    _, found = sees
    text = markdown(as_result(found))
    assert "**Maps of gradcam point at what was edited**" in text
    assert "gradcam: The network looks at the mouth" in text
    for heading in ("to the pixel", "Was this part edited?", "Regions, hirescam", "random weights"):
        assert heading in text
    assert scorecard_figure(as_result(found)).get_size_inches().tolist() == [14, 9]


def test_a_set_of_which_nothing_is_known_still_has_what_can_be_asked():
    _, found = scored(known=nothing_known(), stages=0, random_networks=0)
    text = markdown(as_result(found))
    assert "What was edited in these pictures is not known" in text
    assert "Does the answer depend" in text and "Regions" not in text
    assert not found["edited_auroc"] and not found["sanity"]
    scorecard_figure(as_result(found))


def test_a_twin_is_no_control_of_its_own_picture():
    """Pictures in pairs with the same map and mask: in `others` neither counts for the other."""
    card, found = scored(stages=0, random_networks=0)
    pairs = np.arange(COUNT) // 4  # two fakes a group
    card.groups = pairs
    by_pair = where.inside(card, "pixels", card.truth.masks)["methods"]["gradcam"]["share"]
    fakes = card.truth.masks.any((1, 2))
    maps, masks, groups = card.maps["gradcam"][fakes], card.truth.masks[fakes], pairs[fakes]
    by_hand = []
    for at, mask in enumerate(masks):
        others = maps[groups != groups[at]]
        mean = np.mean([one / one.sum() for one in others if one.any()], axis=0)
        by_hand.append(mean[mask].sum() / mean.sum())
    assert by_pair["controls"]["others"]["value"] == pytest.approx(np.mean(by_hand), rel=1e-4)
    alone = found["masks"]["pixels"]["methods"]["gradcam"]["share"]["controls"]["others"]
    assert alone["value"] != pytest.approx(np.mean(by_hand), rel=1e-3)


def test_networks_with_random_weights_are_different_ones(learnt_nothing):
    card, _ = learnt_nothing
    every = card.random["gradcam"]
    assert len(every) == 6
    for at, one in enumerate(every):
        assert not any(np.array_equal(one, other) for other in every[:at])
        assert not np.array_equal(one, card.maps["gradcam"])


def test_an_empty_map_of_a_random_network_counts_as_even():
    card, _ = scored(stages=0, random_networks=2)
    for one in card.random["gradcam"]:
        one[:] = 0
    shares = where.inside(card, "pixels", card.truth.masks)["methods"]["gradcam"]["share"]
    assert shares["controls"]["random"]["value"] == pytest.approx(
        shares["controls"]["uniform"]["value"]
    )


def test_p_is_corrected_over_methods(sees):
    tests = [one["lift"] for one in sees[1]["masks"]["pixels"]["methods"].values()]
    assert [one["p_corrected"] for one in tests] == pytest.approx(holm([one["p"] for one in tests]))


def test_random_weights_are_compared_with_other_random_weights(learnt_nothing):
    """Not with the very weights that are explained, which would give correlations of 1."""
    card, _ = learnt_nothing
    card.predictor.network = card.predictor.untrained(card.seed)
    last = answers.sanity(card)["gradcam"][-1]
    assert last["value"] is None or last["value"] < 0.999
