"""What is measured on the scores of a part of a set, beside the metrics themselves."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from detector.data.index import Index
from detector.data.sources import FACE_PARTS
from detector.errors import UserError
from detector.evaluation.abstention import answered
from detector.evaluation.calibration import Calibration
from detector.evaluation.false_alarms import COLUMNS as COLUMNS_OF_PEOPLE
from detector.evaluation.false_alarms import false_alarms
from detector.evaluation.holds import calibration_holds, in_words
from detector.evaluation.metrics import LEVEL, summarize
from detector.evaluation.reliability import reliability
from detector.evaluation.scores import FAKE, REAL
from detector.evaluation.slices import COLUMNS, slices
from detector.evaluation.tables import has_table, usual_table

log = logging.getLogger(__name__)

MOST, BINS = 12, 5
CALIBRATED = ("log_loss", "brier", "ece")  # what a temperature changes


@dataclass(frozen=True)
class Scored:
    """Images of a set and what a network says of them.

    Args:
        index: The set.
        parts: str, part of each of its images.
        rows: Which of its images these are (N).
        margins: float64 (N), before calibration.
        p_fake: float64 (N), after it.
        threshold: p_fake from which a picture is called fake.
        unsure: Scores strictly between these two get no verdict.
        replicates: Of every bootstrap.
        seed: Of every bootstrap.
    """

    index: Index
    parts: np.ndarray
    rows: np.ndarray
    margins: np.ndarray
    p_fake: np.ndarray
    threshold: float
    unsure: tuple[float, float]
    replicates: int
    seed: int

    @property
    def labels(self) -> np.ndarray:
        """(N,) 0 for fake, 1 for real."""
        return self.index.labels[self.rows]

    @property
    def groups(self) -> np.ndarray:
        """(N,) group of each image."""
        return np.array(self.index["group"])[self.rows]

    @property
    def images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores, labels and groups, as every measure takes them first."""
        return self.p_fake, self.labels, self.groups

    @property
    def drawn(self) -> dict[str, int]:
        """Of the bootstrap, as every measure takes it."""
        return {"replicates": self.replicates, "seed": self.seed}


def metrics(scored: Scored) -> dict:
    """As `summarize` gives them; over one class without what calibration is measured by.

    Scores that were fitted on two classes are too high or too low for one by definition.
    """
    found = summarize(*scored.images, threshold=scored.threshold, **scored.drawn)
    if not (found["n_fake"] and found["n_real"]):
        found |= {key: {"value": None, "low": None, "high": None} for key in CALIBRATED}
    return found


def kinds(scored: Scored, columns: Iterable[str]) -> dict[str, dict]:
    """What `slices` gives for each column that the set has, numbers in bins; see `binned`.

    Raises:
        UserError: A column has more than MOST texts.
    """
    found = {}
    for name in columns:
        if (column := column_of(scored.index, name)) is not None:
            # Of sets put together only those that know kinds: kinds against other sets' reals
            # would be told apart by what tells the sets apart.
            known = scored.index.knows(_asked(name))[scored.rows]
            images = [values[known] for values in scored.images]
            found[name] = slices(
                *images, binned(name, [column[row] for row in scored.rows[known]]),
                order=COLUMNS.get(name, ()), threshold=scored.threshold, **scored.drawn,
            )  # fmt: skip
    return found


def calibration(scored: Scored, fake: str) -> dict | None:
    """Whether scores mean here what they say, and what the temperature did.

    Args:
        scored: The scores.
        fake: Name of class 0.

    Returns:
        None where there is one class only: without fakes, scores are too high by definition.
        Else what `calibration_holds` gives; `uncalibrated`, log loss, Brier score, ECE and `bins`
        at temperature 1; `answered`, as the function of that name gives it; and `says`, a
        sentence.
    """
    if not 0 < (scored.labels == FAKE).sum() < len(scored.labels):
        return None
    found = calibration_holds(*scored.images, **scored.drawn)
    before = Calibration().scores(scored.margins)
    raw = summarize(
        before, scored.labels, scored.groups, threshold=0.5, names=CALIBRATED, **scored.drawn
    )
    bins = reliability(before, scored.labels, scored.groups, level=LEVEL)
    given = answered(*scored.images, threshold=scored.threshold, unsure=scored.unsure, level=LEVEL)
    says = in_words(found, scored.index.name, fake)
    uncalibrated = {key: raw[key] for key in CALIBRATED} | {"bins": bins}
    return {**found, "uncalibrated": uncalibrated, "answered": given, "says": says}


def binned(name: str, values: list) -> list:
    """Numbers of more than MOST kinds in five bins of about equally many images.

    Args:
        name: Of the column, for the error.
        values: One for each image.

    Returns:
        Bins as text, such as `12 to 25`; other values as they are.

    Raises:
        UserError: More than MOST texts, which would make as many slices.
    """
    if len(set(map(str, values))) <= MOST:
        return values
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise UserError(
            f"evaluate.slices: {name} has more than {MOST} values: choose another column"
        )
    ordered = sorted(values)
    edges = sorted({ordered[len(ordered) * k // BINS] for k in range(BINS)})
    place = np.searchsorted(edges, values, side="right") - 1
    # Named by what is in them, so that no gap is left open.
    names = {}
    for at in set(place.tolist()):
        inside = [value for value, where in zip(values, place, strict=True) if where == at]
        names[at] = f"{min(inside):g} to {max(inside):g}"
    return [names[at] for at in place.tolist()]


def false_alarms_by_group(scored: Scored, more: Iterable[str] = ()) -> dict | None:
    """How often the reals of each group are called fake; see `false_alarms`.

    Args:
        scored: The scores.
        more: Further columns, used where the set has no fakes that `kinds` could slice.

    Returns:
        None where the set says nothing of the people, or holds no reals.
    """
    alone = not (scored.labels == FAKE).any()
    asked = [name for name in more if alone and name not in (*FACE_PARTS, *COLUMNS, "parts_edited")]
    columns = {
        name: binned(name, [column[row] for row in scored.rows])
        for name in dict.fromkeys([*COLUMNS_OF_PEOPLE, *asked])
        if (column := column_of(scored.index, name)) is not None
    }
    if not columns or not (scored.labels == REAL).any():
        return None
    return false_alarms(*scored.images, columns, threshold=scored.threshold, **scored.drawn)


def with_usual_table(scored: Scored) -> dict | None:
    """Results on the images of both classes that have the JPEG table usual for the reals.

    What a network scores there it does not owe to another table of the fakes.

    Returns:
        As `summarize` gives it, with `table`; None where fewer than half of the reals share a
        table, where all of these images have it, or none of one class has.
    """
    index, rows = scored.index, scored.rows
    learnt = "train" if (scored.parts == "train").any() else scored.parts[0]
    if not (index.labels[scored.parts == learnt] == REAL).any():
        return None
    table = usual_table(index, np.where(scored.parts == learnt, "train", ""))
    usual = has_table(index, table)[rows]
    fake = scored.labels == FAKE
    common = has_table(index, table)[index.labels == REAL].mean() >= 0.5
    if (
        not table
        or not common
        or usual.all()
        or not (usual & fake).any()
        or not (usual & ~fake).any()
    ):
        return None
    here = [values[usual] for values in scored.images]
    return {"table": table} | summarize(*here, threshold=scored.threshold, **scored.drawn)


def _asked(name: str) -> str:
    return FACE_PARTS[0] if name == "parts_edited" else name


def column_of(index: Index, name: str) -> list | None:
    """A column of the index by name; `parts_edited` counts the edited parts of each fake."""
    if name != "parts_edited":
        return index.columns.get(name)
    if any(part not in index.columns for part in FACE_PARTS):
        return None
    bits = zip(*(index[part] for part in FACE_PARTS), strict=True)
    return [-1 if min(known) < 0 else sum(known) for known in bits]
