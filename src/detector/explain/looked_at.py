"""Which regions a network looks at: tests against every control, and the sentence on each."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from detector.errors import UserError
from detector.evaluation.compare import holm
from detector.evaluation.metrics import LEVEL
from detector.explain.evidence import lift
from detector.explain.regions import REGIONS

WORDS = {
    "rest": "what lies around the face",
    "eye_left": "the viewer's left eye",
    "eye_right": "the viewer's right eye",
    "brow_left": "the viewer's left brow",
    "brow_right": "the viewer's right brow",
    "cheek_left": "the viewer's left cheek",
    "cheek_right": "the viewer's right cheek",
}
_CHUNK = 2**20  # signs drawn at a time


def looked_at(
    shares: np.ndarray,
    controls: Mapping[str, np.ndarray],
    groups: np.ndarray,
    *,
    networks: np.ndarray | None = None,
    names: Sequence[str] = REGIONS,
    replicates: int,
    seed: int,
) -> dict[str, dict]:
    """Which regions have more of the maps than every control has there.

    One-sided test of mean(share - control) > 0, the same as lift > 1, by flipping the signs of
    whole groups: exact where differences are symmetric under the null hypothesis, else for many
    groups. All controls have to be beaten, so that the largest p-value counts (intersection-union:
    Berger 1982, Technometrics 24:295); then Holm's correction over regions.

    Networks with random weights differ from one another, and each prefers some places in every
    picture: no number of pictures tells whether one more such network would have done the same.
    So against them the networks are the sample. The test is that of one more draw from a normal
    distribution of which K are known: t = (x - mean) / (s sqrt(1 + 1/K)), K - 1 degrees of
    freedom.

    A region `holds` where the corrected p is below .05 and the interval of its lift over the
    strongest control lies above 1. Of fewer than five groups nothing can hold.

    The mean map of the other images is no control here: a network that always looks at the mouth
    has a lift of 1 over itself. It is one for what was edited, which changes from image to image.

    Args:
        shares: float (N, R) share of each map in each region, NaN where undefined.
        controls: At least one; by name float (N, R), a map's that looks at nothing in particular.
        groups: (N,) group of each image.
        networks: float (K, N, R), shares of the maps of K networks with random weights. Their mean
            is one more control, `random`. Fewer than two networks prove nothing.
        names: Of the R regions. Leave out those that do not matter: each is one more test.
        replicates: Of the bootstrap, and of the signs where there are too many to try all.
        seed: Of both.

    Returns:
        By name what `lift` gives over the strongest control (the one with most inside), and
        `strongest`, `lifts` (over each control), `p`, `p_corrected` (None where undefined),
        `holds`. An image counts for a region where the map and every control are defined.

    Raises:
        UserError: There is no control, or the shapes differ.
    """
    shares, groups = np.asarray(shares, np.float64), np.asarray(groups)
    stacked = {name: np.asarray(control, np.float64) for name, control in controls.items()}
    if networks is not None:
        stacked["random"] = mean_of_defined(networks)
    shapes = {values.shape for values in (shares, *stacked.values())}
    if not stacked or shapes != {(len(groups), len(names))}:
        raise UserError(
            f"shares and controls of shapes {sorted(shapes)}, {len(groups)} groups, {len(names)}"
            f" regions, {len(stacked)} controls: give at least one control, all of one shape"
        )
    found = {}
    for at, name in enumerate(names):
        columns = np.stack([shares[:, at], *(c[:, at] for c in stacked.values())], axis=1)
        use = ~np.isnan(columns).any(1)
        mine, theirs = columns[:, 0], columns[:, 1:]
        lifts = {
            control: lift(
                np.where(use, mine, np.nan), theirs[:, k], groups, replicates=replicates, seed=seed
            )
            for k, control in enumerate(stacked)
        }
        p = None
        if use.any():
            drawn = [k for k, control in enumerate(stacked) if control != "random"]
            differences = mine[use, None] - theirs[use][:, drawn]
            p = float(sign_flips(differences, groups[use], replicates, seed).max(initial=0.0))
            if networks is not None:
                p = max(p, one_more_network(mine[use], networks[:, use, at]))
        strongest = max(lifts, key=lambda control: lifts[control]["control"] or 0.0)
        found[name] = lifts[strongest] | {"strongest": strongest, "lifts": lifts, "p": p}
    tested = [name for name in names if found[name]["p"] is not None]
    corrected = dict(zip(tested, holm([found[name]["p"] for name in tested]), strict=True))
    for name in names:
        result = found[name]
        result["p_corrected"] = corrected.get(name)
        result["holds"] = (
            result["low"] is not None and result["low"] > 1 and corrected[name] < 1 - LEVEL
        )
    return found


def sign_flips(
    differences: np.ndarray, groups: np.ndarray, replicates: int, seed: int
) -> np.ndarray:
    """One-sided p-values of mean difference > 0, the signs of whole groups flipped together.

    All 2^G ways for G groups where these are no more than `replicates`; else so many draws, of
    which the data count as one more, so that p is never 0.

    Args:
        differences: float (N, C).
        groups: (N,) group of each row.
        replicates: At least 1.
        seed: Of the draws.

    Returns:
        float64 (C,) in (0, 1].
    """
    _, code = np.unique(groups, return_inverse=True)
    sums = np.zeros((code.max() + 1, differences.shape[1]))
    np.add.at(sums, code, differences)
    seen = sums.sum(0)
    # Sums of the same numbers in another order are ties.
    least = seen - 1e-12 * np.abs(sums).sum(0)
    if len(sums) <= math.log2(replicates):
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(sums))))
        return (signs @ sums >= least).mean(0)
    rng, reached = np.random.default_rng(seed), np.ones(len(seen))
    rows = max(1, _CHUNK // len(sums))
    for start in range(0, replicates, rows):
        drawn = rng.integers(0, 2, (min(rows, replicates - start), len(sums)), dtype=np.int8)
        reached += ((2.0 * drawn - 1) @ sums >= least).sum(0)
    return reached / (replicates + 1)


def one_more_network(values: np.ndarray, networks: np.ndarray) -> float:
    """One-sided p-value: could a network with random weights have had this mean?

    Args:
        values: float (N,) of the network.
        networks: float (K, N) of K networks with random weights, NaN where one has no map.

    Returns:
        In [0, 1]; 1 for fewer than two networks.
    """
    from scipy.stats import t

    means = np.array([row[~np.isnan(row)].mean() for row in networks if not np.isnan(row).all()])
    if len(means) < 2:
        return 1.0
    spread = means.std(ddof=1) * math.sqrt(1 + 1 / len(means))
    ahead = float(values.mean() - means.mean())
    if spread == 0:
        return 0.0 if ahead > 0 else 1.0
    return float(t.sf(ahead / spread, len(means) - 1))


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    count = defined.sum(0)
    total = np.where(defined, values, 0.0).sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def in_words(region: str, tested: Mapping) -> str:
    """One sentence on a region: that the network looks at it only where `looked_at` says so.

    Args:
        region: One of `REGIONS`.
        tested: Its entry in what `looked_at` gives.
    """
    name = WORDS.get(region, f"the {region}")
    if tested["value"] is None:
        return (
            f"It was not shown that the network looks at {name}: of {tested['n']} images with a"
            " map and this region, none has any of the strongest control there."
            if tested["n"]
            else f"It was not shown that the network looks at {name}: no image has a map there."
        )
    figures = (
        f"{tested['value']:.2f} times [{tested['low']:.2f}, {tested['high']:.2f}] as much of the"
        f" map lies there as of the strongest control's ({tested['strongest']})"
    )
    if tested["holds"]:
        return f"The network looks at {name}: {figures}."
    return (
        f"It was not shown that the network looks at {name}: {figures},"
        f" p = {tested['p_corrected']:.2g} after correction."
    )
