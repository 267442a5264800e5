"""The sentences beside a score, against counts made by hand and an independent interval."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from detector.page.measured import HeatmapFigure, Measured
from detector.page.words import FEW, NEIGHBOURS, heatmap_words, nearby, say
from detector.predicting.prediction import CLOSE, UNLIKE


def measured(p_fake, fake, groups=None):
    p_fake = np.asarray(p_fake, float)
    groups = np.arange(len(p_fake)).astype(str) if groups is None else np.asarray(groups)
    return Measured(p_fake, np.asarray(fake, bool), groups)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=150),
    st.floats(0, 1),
)
def test_counts_are_those_of_pictures_scored_alike(scored, p):
    p_fake, fake = zip(*scored, strict=True)
    near = nearby(p, measured(p_fake, fake))
    alike = [
        (abs(logit(q) - logit(p)), is_fake)
        for q, is_fake in scored
        if abs(q - p) <= 0.05 or abs(logit(q) - logit(p)) <= 0.5
    ]
    if len(scored) <= NEIGHBOURS:
        assert (near.n, near.fakes) == (len(alike), sum(is_fake for _, is_fake in alike))
    assert near.tested == len(scored) and near.tested_fakes == sum(fake)
    assert near.fakes <= near.n <= len(alike)
    assert 0 <= near.low <= near.high <= 1


def logit(p):
    p = min(max(p, 2.0**-53), 1 - 2.0**-53)
    return np.log(p) - np.log1p(-p)


def test_of_many_the_hundred_nearest_count():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.85, 0.95, 1000)
    near = nearby(0.9, measured(scores, rng.random(1000) < 0.8))
    assert near.n == 100
    assert near.scores[0] > 0.88 and near.scores[1] < 0.92


def test_the_issues_sentence():
    fake = np.r_[np.ones(93), np.zeros(7)].astype(bool)
    near = nearby(0.9, measured(np.full(100, 0.9), fake))
    said = say("fake", "", near)
    assert said.headline == "Probably fake."
    assert "Of 100 pictures scored like this in the test set, 93 were fake" in said.support[0]
    low, high = (round(100 * end) for end in binomtest(93, 100).proportion_ci(method="wilson"))
    assert f"{low} % to {high} %" in said.support[0]
    assert "93 of 100 pictures are fake" in said.support[1]


def test_a_real_verdict_counts_reals():
    fake = np.r_[np.ones(4), np.zeros(96)].astype(bool)
    said = say("real", "", nearby(0.1, measured(np.full(100, 0.1), fake)))
    assert said.headline == "Probably real."
    assert "96 were real" in said.support[0]


@pytest.mark.parametrize("share", [0.5, 0.55, 0.4])
def test_what_the_neighbourhood_does_not_bear_out_is_a_leaning(share):
    fake = np.arange(100) < 100 * share
    said = say("fake", "", nearby(0.9, measured(np.full(100, 0.9), fake)))
    assert said.kind == "leaning fake" and "Probably" not in said.headline


def test_few_pictures_are_said_to_be_few():
    scores = np.r_[np.full(FEW - 1, 0.9), np.full(200, 0.01)]
    near = nearby(0.9, measured(scores, scores > 0.5))
    said = say("fake", "", near)
    assert near.n == FEW - 1
    assert said.kind == "leaning fake" and f"only {FEW - 1} pictures" in said.support[0]


def test_a_score_that_no_test_picture_had():
    scores = np.r_[np.full(100, 0.999), np.full(100, 0.001)]
    near = nearby(0.6, measured(scores, scores > 0.5))
    assert near.n == 0 and (near.low, near.high) == (0, 1)
    assert "no picture was scored like this" in say("fake", "", near).support[0]


def test_without_a_test_part_nothing_is_probable():
    said = say("fake", "", nearby(0.99, None))
    assert said.kind == "leaning fake" and "not measured" in said.support[0]


def test_copies_of_one_photograph_count_as_one():
    fake, scores = np.ones(100, bool), np.full(100, 0.9)
    alone = nearby(0.9, measured(scores, fake))
    copied = nearby(0.9, measured(scores, fake, ["one"] * 100))
    assert copied.low < 0.3 < 0.9 < alone.low
    assert say("fake", "", copied).kind == "leaning fake"


def test_a_picture_unlike_training_gets_no_verdict_and_no_figures():
    near = nearby(0.9, measured(np.full(100, 0.9), np.ones(100)))
    said = say("unsure", UNLIKE, near)
    assert said.kind == "none" and UNLIKE in said.support[0]
    assert not re.search(r"Of \d+ pictures", " ".join(said.support))
    assert "Of 100 pictures" in say("unsure", CLOSE, near).support[0]


def test_what_the_counts_do_not_heed_is_said():
    near = nearby(0.9, measured(np.full(100, 0.9), np.ones(100)))
    assert "refused as unlike" in say("fake", "", near, gated=True).support[-1]
    assert "refused" not in " ".join(say("fake", "", near).support)


@pytest.mark.parametrize("verdict, mix", [("fake", "are rarer"), ("real", "are more frequent")])
def test_each_verdict_names_the_mix_that_would_change_it(verdict, mix):
    scores = np.full(100, 0.9 if verdict == "fake" else 0.1)
    near = nearby(scores[0], measured(scores, scores > 0.5))
    assert f"where fakes {mix}" in say(verdict, "", near).support[-1]


def test_a_heatmap_is_believed_as_far_as_its_scorecard_goes():
    holds = HeatmapFigure("hirescam", "synthetic", 120, 1.28, 1.16, 1.4, True)
    fails = HeatmapFigure("hirescam", "ciplab", 120, 0.69, 0.58, 1.24, False)
    none = HeatmapFigure("hirescam", "hardfake", 0, None, None, None, False)
    assert "1.28 times [1.16, 1.40]" in heatmap_words(holds, "hirescam")
    assert "not shown" in heatmap_words(fails, "hirescam")
    assert "does not tell what was edited" in heatmap_words(none, "hirescam")
    assert "not measured (make scorecard)" in heatmap_words(None, "hirescam")
