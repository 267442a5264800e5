"""What is said of a score, in words that promise no more than was measured.

"Probably" needs test pictures that were scored alike, and enough of them on that side: the lower
end of their 95 % interval has to lie beyond one half. Otherwise it is a leaning.
"""

from dataclasses import dataclass, replace

import numpy as np

from detector.evaluation.calibration import log_odds
from detector.evaluation.intervals import effective_n, wilson
from detector.page.measured import HeatmapFigure, Measured
from detector.predicting.prediction import UNLIKE

NEIGHBOURS = 100  # test pictures whose scores are nearest, at most
ALIKE = 0.05, 0.5  # and within so much of p_fake, or of its log odds
FEW = 10  # below that nothing is said of their share
LEVEL = 0.95
METHODS = {
    "gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM",
    "layercam": "LayerCAM", "eigencam": "EigenCAM",
}  # fmt: skip
NO_GATE = (
    "Whether this picture is like those on which the network was trained was not checked: the"
    " network came without such a check."
)
GATED = (
    "Among those counted are also test pictures that the network would have refused as unlike those"
    " on which it was trained."
)

CANNOT = (
    "It cannot prove anything about one picture: it says how often pictures that were scored alike"
    " were fake, in the set on which the network was tested.",
    "It does not know how rare fakes are where this picture comes from. Where they are rarer than"
    " in the test set, more of the pictures that it calls fake are real; where they are more"
    " frequent, more of those that it calls real are fake.",
    "It knows the kinds of fakes that it was trained on. Others, newer ones among them, it may"
    " call real.",
    "It may have learnt how pictures of a set were framed, compressed or coloured, and not the"
    " face.",
    "It does not tell who made a picture or why, and it does not see what was cut away or what the"
    " caption says.",
)
LOOK = (
    ("Eyes and pupils", "pupils that are not round, reflections that differ between the eyes"),
    ("Teeth", "teeth that run together, or are not symmetrical about the middle"),
    ("Hair", "strands that end in nothing, melt into the skin or into the background"),
    ("Earrings and glasses", "a pair that does not match, frames that do not meet"),
    ("Background and text", "letters that are none, lines that bend near the head"),
    ("Edges of the face", "another sharpness, grain or light inside an outline than around it"),
)


@dataclass(frozen=True)
class Nearby:
    """The test pictures that were scored nearly as this one was.

    Args:
        n: How many.
        fakes: How many of them are fake.
        low, high: 95 % interval of the share of fakes, copies of a photograph counted as one.
        scores: Their lowest and highest p_fake; (0, 0) for none.
        tested, tested_fakes: All test pictures, and the fakes among them.
    """

    n: int
    fakes: int
    low: float
    high: float
    scores: tuple[float, float]
    tested: int
    tested_fakes: int


@dataclass(frozen=True)
class Said:
    """A verdict for people.

    Args:
        kind: `fake`, `real`, `leaning fake`, `leaning real`, `unsure` or `none`.
        headline: A few words.
        support: What was measured, or why there is no verdict; sentences.
    """

    kind: str
    headline: str
    support: tuple[str, ...]


def nearby(p_fake: float, tested: Measured | None) -> Nearby | None:
    """Counts the test pictures with nearly this score; None without a measured test part.

    Args:
        p_fake: In [0, 1].
        tested: What was measured.
    """
    if tested is None:
        return None
    odds, mine = log_odds(tested.p_fake), log_odds(np.array([p_fake]))[0]
    far = np.abs(odds - mine)
    alike = (np.abs(tested.p_fake - p_fake) <= ALIKE[0]) | (far <= ALIKE[1])
    order = np.argsort(far, kind="stable")
    # Pictures that are equally far are taken together or not at all: the order of a file says
    # nothing.
    reach = far[order[min(NEIGHBOURS, len(order)) - 1]]
    use = alike & (far <= reach)
    if use.sum() > 2 * NEIGHBOURS:  # scores of 0 or 1, all equal
        use = alike & (far < reach) if (alike & (far < reach)).any() else use
    n, fakes = int(use.sum()), int(tested.fake[use].sum())
    trials = effective_n(tested.groups[use])
    low, high = wilson(trials * fakes / n if n else 0.0, trials, LEVEL)
    here = tested.p_fake[use]
    span = (float(here.min()), float(here.max())) if n else (0.0, 0.0)
    return Nearby(n, fakes, low, high, span, len(odds), int(tested.fake.sum()))


def say(verdict: str, reason: str, near: Nearby | None, *, gated: bool = False) -> Said:
    """Puts an answer into words.

    Args:
        verdict: `fake`, `real` or `unsure`.
        reason: Why it is unsure, as `Prediction.reason`.
        near: As `nearby` gives it.
        gated: Whether the network refuses pictures unlike its own, which the counts do not heed.
    """
    if reason == UNLIKE:
        return no_verdict(
            f"This picture is {UNLIKE}, and what was measured on the test set does not hold for it."
        )
    said = _said(verdict, reason, near)
    if gated and near is not None:
        return replace(said, support=(*said.support, GATED))
    return said


def _said(verdict: str, reason: str, near: Nearby | None) -> Said:
    if verdict not in ("fake", "real"):
        return _unsure(reason, near)
    if near is None:
        return Said(
            f"leaning {verdict}",
            f"Leaning towards {verdict}, not more.",
            ("How often such scores are right was not measured: the network has no test part.",),
        )
    if near.n < FEW:
        return Said(
            f"leaning {verdict}",
            f"Leaning towards {verdict}, not more.",
            (_few(near), base_rate(near, verdict)),
        )
    surely = near.low > 0.5 if verdict == "fake" else near.high < 0.5
    head = f"Probably {verdict}." if surely else f"Leaning towards {verdict}, not more."
    support = [counted(verdict, near), base_rate(near, verdict)]
    if not surely:
        support.insert(
            1, f"That share may be no more than one half: too little to say probably {verdict}."
        )
    return Said(verdict if surely else f"leaning {verdict}", head, tuple(support))


def no_verdict(*why: str) -> Said:
    """There is none, and why."""
    return Said("none", "No verdict.", why)


def counted(verdict: str, near: Nearby) -> str:
    """How many of the pictures scored like this were what the verdict says."""
    low, high = near.low, near.high
    count = near.fakes
    if verdict == "real":
        low, high, count = 1 - near.high, 1 - near.low, near.n - near.fakes
    return (
        f"Of {near.n} pictures scored like this in the test set, {count} were {verdict}"
        f" (95 % interval: {_percent(low)} to {_percent(high)})."
    )


def base_rate(near: Nearby, verdict: str = "fake") -> str:
    """The mix at which that was measured, and what another mix would do to the verdict."""
    rarer = "rarer, a picture scored like this is less often fake"
    if verdict == "real":
        rarer = "more frequent, a picture scored like this is more often fake"
    return (
        f"That is at the mix of the test set, in which {near.tested_fakes} of {near.tested}"
        f" pictures are fake; where fakes are {rarer}."
    )


def heatmap_words(figure: HeatmapFigure | None, method: str) -> str:
    """How far the heatmap can be believed, from a scorecard of the same weights."""
    method = METHODS.get(method, method)
    if figure is None:
        return f"Whether {method} points at edits in this network: not measured (make scorecard)."
    if figure.value is None:
        return (
            f"Whether {method} points at edits could not be measured: {figure.set} does not tell"
            " what was edited. Take it as a hint."
        )
    times = f"{figure.value:.2f} times [{figure.low:.2f}, {figure.high:.2f}]"
    base = (
        f"On {figure.n} pictures of {figure.set} whose edit is known, {times} as much of such maps"
        " lay inside the edit as of the strongest control"
    )
    if figure.holds:
        return f"{base}: more than chance, and no more than that."
    return f"{base}: it was not shown that they point at edits."


def _unsure(reason: str, near: Nearby | None) -> Said:
    why = f"Unsure: {reason}." if reason else "Unsure."
    support = []
    if near is not None and near.n >= FEW:
        support = [counted("fake", near), "That is no verdict.", base_rate(near)]
    elif near is not None:
        support = [_few(near), base_rate(near)]
    return Said("unsure", why, tuple(support))


def _few(near: Nearby) -> str:
    number = "no picture was" if near.n == 0 else f"only {near.n} pictures were"
    if near.n == 1:
        number = "only 1 picture was"
    return f"In the test set {number} scored like this: too few to say how often that is right."


def _percent(share: float) -> str:
    """Whole percent; never 0 or 100 for what is not quite that."""
    value = 100 * share
    if 0 < value < 1:
        return "under 1 %"
    if 99 < value < 100:
        return "over 99 %"
    return f"{value:.0f} %"
