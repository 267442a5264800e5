"""What a network knows of a set: which of its images it was trained or chosen on."""

import csv
from collections import Counter
from dataclasses import dataclass

import numpy as np

from detector.data.index import Index
from detector.evaluation.trained import Trained

UNKNOWN = "-"  # the part of an image that the recorded split does not name


@dataclass
class Seen:
    """What a network knows of a set.

    Args:
        own: It was trained on this set, and how it was split then is known.
        parts: str (N), of the recorded split where `own`, with `UNKNOWN` for images that it
            does not name.
        trained: bool (N), images that it was trained on, byte for byte or another picture of
            the same photograph; None where its run folder is gone.
        absent: Images of the recorded split, by part, that are no longer there.
    """

    own: bool
    parts: np.ndarray | None
    trained: np.ndarray | None
    absent: dict[str, int]


def look_back(trained: Trained, index: Index) -> Seen:
    """Finds the images of a set in the split that a network's run wrote down.

    A set is the network's own if it has its name, or that of one of the sets that were put
    together for it, and, of the files that both know, at least half have the content that they
    had then: two sets that are both called `folder` are two.

    Args:
        trained: The network.
        index: The set.
    """
    if trained.data is None:
        return Seen(False, None, None, {})
    with open(trained.checkpoint.parents[1] / "split.csv", newline="", encoding="utf-8") as file:
        group_of = {line["path"]: line.get("group") for line in csv.DictReader(file)}
    joint = trained.data.get("source") == "joint" and index.name != trained.predictor.trained_on
    above = f"{index.name}/" if joint else ""
    here = [f"{above}{name}" for name in index["name"]]
    now = index.aliases()
    in_training = {group_of[path] for path, part in trained.parts.items() if part == "train"}
    copies = np.array([bool(names & in_training) for names in now], bool)
    if joint or index.name == trained.predictor.trained_on:
        both = [at for at, name in enumerate(here) if name in group_of]
        same = sum(group_of[here[at]] in now[at] for at in both)
        if both and 2 * same >= len(both):
            parts = np.array([trained.parts.get(name, UNKNOWN) for name in here])
            there, known = set(here), trained.parts.items()
            absent = Counter(p for path, p in known if path.startswith(above) and path not in there)
            return Seen(True, parts, (parts == "train") | copies, dict(absent))
    return Seen(False, None, copies, {})
