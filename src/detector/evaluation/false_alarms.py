"""How often real people are called fake, group by group: by gender, by age, by ethnicity.

Each rate has its interval, and each column one test of whether its values differ at all. With
three columns of a dozen values some rate always stands out, so what is said follows the test.
It speaks of these photographs: a group's pictures may be older or blurred more often too.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from detector.errors import UserError
from detector.evaluation.compare import holm
from detector.evaluation.intervals import wilson_by_group
from detector.evaluation.metrics import LEVEL
from detector.evaluation.scores import REAL, checked, checked_groups
from detector.evaluation.slices import in_order

COLUMNS = ("gender", "age_band", "ethnicity")  # of an index, where its set has them
ALPHA = 0.05  # of the tests, all columns together
NAMED = 20  # images, at the least, of a value that a sentence names: one alone is easily 0 or 1


def false_alarms(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    columns: Mapping[str, Sequence],
    *,
    threshold: float,
    replicates: int,
    seed: int,
) -> dict:
    """Rates at which reals are called fake, with 95 % intervals, and whether they differ.

    Fakes are not looked at. The result does not depend on the order of the images.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image, of any sortable type.
        columns: (N,) value of each image, by the column's name; told apart by their text. None,
            an empty text, -1 and NaN mean unknown.
        threshold: An image is called fake when p_fake >= threshold; in [0, 1].
        replicates: Permutations of each test, at least 1; no p is below 1 / (replicates + 1).
        seed: Of the permutations.

    Returns:
        `n` (reals), `n_groups`, `threshold`, and `rate` of all reals as `value`, `low`, `high`
        (Wilson's interval by group). `columns`: by name `values`, by value `n`, `n_groups` and
        `rate`; `unknown`, reals without a value; `p` of `rates_differ`, and `p_holm`, corrected
        for the number of columns; both None where there is one value or none. `says`: as
        `in_words` puts it. Plain values, so that it is standard JSON.

    Raises:
        UserError: There is no real image, a column of another length, threshold outside [0, 1],
            replicates below 1, or as for `checked` and `checked_groups`.
    """
    p, y = checked(p_fake, labels)
    group = checked_groups(groups, len(p))
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold must lie in [0, 1], got {threshold}")
    if replicates < 1:
        raise UserError(f"replicates must be at least 1, got {replicates}")
    for name, column in columns.items():
        if len(column) != len(p):
            raise UserError(f"column {name} has {len(column)} values for {len(p)} images")
    rows = np.flatnonzero(y == REAL)
    if len(rows) == 0:
        raise UserError("there is no real image, so there are no false alarms to count")
    hits, group = (p >= threshold)[rows], group[rows]
    found = {}
    for name, column in columns.items():
        known = np.array([not _unknown(column[row]) for row in rows])
        text = [str(column[row]) for row in rows[known]]
        values = in_order(text)
        code_of = {value: code for code, value in enumerate(values)}
        codes = np.array([code_of[value] for value in text], np.int64)
        of_hits, of_group = hits[known], group[known]
        measured = {
            value: _measured(of_hits[codes == code], of_group[codes == code])
            for value, code in code_of.items()
        }
        p_value = None
        if len(values) > 1:
            p_value = rates_differ(of_hits, codes, of_group, replicates=replicates, seed=seed)
        found[name] = {"values": measured, "unknown": int((~known).sum()), "p": p_value}
    tested = [column for column in found.values() if column["p"] is not None]
    corrected = iter(holm([column["p"] for column in tested]))
    for column in found.values():
        column["p_holm"] = None if column["p"] is None else next(corrected)
    result = _measured(hits, group) | {"threshold": float(threshold), "columns": found}
    return result | {"says": in_words(result)}


def rates_differ(
    hits: np.ndarray, codes: np.ndarray, groups: np.ndarray, *, replicates: int, seed: int
) -> float:
    """Whether some of several rates differ: a permutation test by group.

    Pearson's chi-squared of the table of values by outcome, against what it is when the
    outcomes are dealt anew: those of a whole group go to another group of the same size, so
    that copies of one photograph are not taken for several witnesses (whole-block exchange:
    Winkler et al. 2015, NeuroImage 123:253). Without groups this is Fisher's and Freeman and
    Halton's conditional test, which is right for rare outcomes and small tables too. The
    observed order counts as one of those drawn (Phipson and Smyth 2010, Stat. Appl. Genet.
    Mol. Biol. 9:39).

    Args:
        hits: (N,) bool, the outcome of each image.
        codes: (N,) whole numbers >= 0, the value of each image.
        groups: (N,) group of each image.
        replicates: Number of permutations.
        seed: Of the permutations.

    Returns:
        p, in [1 / (replicates + 1), 1]; 1 where all outcomes are alike.
    """
    # In one canonical order, so that the order of the images has no influence.
    random = np.random.default_rng(seed)
    order = np.lexsort((hits, codes, groups))
    # Within a group, by value and then by lot: by outcome, hits would gather in last places.
    order = order[np.lexsort((random.random(len(order)), codes[order], groups[order]))]
    hits, codes, groups = np.asarray(hits)[order], codes[order], groups[order]
    _, starts, sizes = np.unique(groups, return_index=True, return_counts=True)
    n, rate = np.bincount(codes), hits.mean()
    if rate in (0, 1):
        return 1.0
    dealt = np.zeros((replicates, len(n)))  # hits of each value
    for size in np.unique(sizes).tolist():
        rows = starts[sizes == size][:, None] + np.arange(size)
        outcomes, value = hits[rows], codes[rows].ravel()
        if size == 1:  # a permutation of single images, by its result: a hundred times as fast
            present = np.bincount(value, minlength=len(n))
            dealt += random.multivariate_hypergeometric(present, outcomes.sum(), replicates)
            continue
        for replicate in dealt:
            anew = outcomes[random.permutation(len(rows))].ravel()
            replicate += np.bincount(value, anew, len(n))

    def chi_squared(counts: np.ndarray) -> np.ndarray:
        expected = n[n > 0] * rate
        # A hit too many in one cell is a miss too few in the other.
        return ((counts[..., n > 0] - expected) ** 2 / (expected * (1 - rate))).sum(-1)

    # Sums over the same table may differ in their last digits.
    limit = chi_squared(np.bincount(codes, hits)) * (1 - 1e-9)
    return float(1 + (chi_squared(dealt) >= limit).sum()) / (replicates + 1)


def in_words(found: Mapping) -> str:
    """What the tests found, in sentences: who is called fake most and least often.

    Args:
        found: What `false_alarms` returns, without `says`.
    """
    sentences, quiet = [], {}
    for name, column in found["columns"].items():
        if column["p_holm"] is None:
            continue
        if column["p_holm"] >= ALPHA:
            quiet[name] = column
            continue
        values = column["values"]
        enough = {v: of for v, of in values.items() if of["n"] >= NAMED}
        if len(enough) < 2:
            enough = values
        least, *_, most = sorted(enough, key=lambda value: enough[value]["rate"]["value"])
        sentences.append(
            f"Real people are not called fake equally often by {_plain(name)}: most often"
            f" {_shown(most, values[most])}, least often {_shown(least, values[least])}"
            f" (p = {column['p_holm']:.2g})."
        )
    if quiet:
        width = {
            (name, value): of["rate"]["high"] - of["rate"]["low"]
            for name, column in quiet.items()
            for value, of in column["values"].items()
        }
        name, value = max(width, key=width.get)
        names = [f"{_plain(n)} (p = {c['p_holm']:.2g})" for n, c in quiet.items()]
        listed = " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        sentences.append(
            f"No difference by {listed} was found; one within the widest interval could have been"
            f" missed ({_shown(value, quiet[name]['values'][value])})."
        )
    if not sentences:
        return "There are no two groups to compare."
    return " ".join([*sentences, "Permutation tests; p is corrected for the number of columns."])


def _measured(hits: np.ndarray, groups: np.ndarray) -> dict:
    low, high = wilson_by_group(hits, groups, LEVEL)
    return {
        "n": len(hits),
        "n_groups": len(np.unique(groups)),
        "rate": {"value": float(hits.mean()), "low": low, "high": high},
    }


def _shown(value: str, of: Mapping) -> str:
    rate, low, high = (100 * of["rate"][end] for end in ("value", "low", "high"))
    return f"{value}, {rate:.1f} % [{low:.1f}, {high:.1f}] of {of['n']} images"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _unknown(value: object) -> bool:
    return value is None or value == "" or value == -1 or value != value  # NaN differs from itself
