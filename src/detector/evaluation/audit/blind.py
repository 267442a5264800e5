"""Rules that never see a face: what they score, and which images they take for the other class."""

from collections import Counter

import numpy as np

from detector.data.index import Index
from detector.evaluation.controls import CONTROLS, STRENGTHS, Features, fit
from detector.evaluation.intervals import wilson_by_group
from detector.evaluation.metrics import LEVEL, auroc, summarize
from detector.evaluation.scores import FAKE, REAL

SUSPECTING = ("pixels", "dct")
ABLE = 0.7  # AUROC from which a control may suspect anything


def read_controls(
    features: Features,
    labels: np.ndarray,
    groups: np.ndarray,
    parts: np.ndarray,
    *,
    part: str,
    replicates: int,
    seed: int,
) -> dict:
    """The four controls, fitted on train, with validation to choose their penalty.

    Args:
        features: Of N images.
        labels: int (N).
        groups: Group of each image (N).
        parts: str (N).
        part: Where they are read: `val` (slightly favourable: the penalty was chosen there)
            or `test`.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `part`, `n`, and by control `accuracy` and `auroc` (value, low, high).
    """
    train, val, read = (parts == name for name in ("train", "val", part))
    result = {"part": part, "n": int(read.sum())}
    for name in CONTROLS:
        control = fit(name, features[train], labels[train], features[val], labels[val])
        measured = summarize(
            control(features[read]), labels[read], groups[read],
            threshold=0.5, replicates=replicates, seed=seed,
        )  # fmt: skip
        result[name] = {key: measured[key] for key in ("accuracy", "auroc")}
    return result


def header_rule(index: Index, parts: np.ndarray) -> dict:
    """The rule "another JPEG quantization table than the reals' usual one means fake".

    The usual table is that of most reals of the train part; the rule is read on all images.

    Returns:
        `accuracy` and its `interval` (Wilson), `n`, `usual` (name of the table, "" if most
        reals have none), `called_fake` (images), `precision` and `precision_interval` (None
        where no image is called fake), `usual_of_fake` and `usual_of_real` (shares).
    """
    tables, labels = np.array(index["quantization"], dtype=str), index.labels
    groups = np.array(index["group"])
    ((usual, _),) = Counter(tables[(parts == "train") & (labels == REAL)].tolist()).most_common(1)
    called, fake = tables != usual, labels == FAKE
    right = called == fake
    any_called = bool(called.any())
    return {
        "accuracy": float(right.mean()),
        "interval": list(wilson_by_group(right, groups, LEVEL)),
        "n": len(labels),
        "usual": str(usual),
        "called_fake": int(called.sum()),
        "precision": float(fake[called].mean()) if any_called else None,
        "precision_interval": list(wilson_by_group(fake[called], groups[called], LEVEL))
        if any_called
        else None,
        "usual_of_fake": float((~called)[fake].mean()),
        "usual_of_real": float((~called)[~fake].mean()),
    }


def suspect_labels(
    index: Index,
    features: Features,
    pairs: list[dict],
    folds: np.ndarray,
    *,
    rows: np.ndarray,
    most: int,
) -> list[dict]:
    """Images that may lie in the wrong class. A hint: somebody has to look at them.

    Two reasons. The same picture, to the byte or to the pixel, has both labels. Or both the
    pixel and the DCT control, fitted on the other folds, find the image more typical of the
    other class than half of that class's own images are; they are asked only where each of
    them has an AUROC of .7 in these folds, as weaker ones suspect at random.

    Args:
        index: The set.
        features: Of M of its N images.
        pairs: `list` of `report_pairs`.
        folds: int (N).
        rows: int (M), which images these are; of others only copies are suspected.
        most: Images to name at most; of those that look like the other class the clearest.

    Returns:
        `name`, `label` (class name), `why`.
    """
    labels = index.labels
    suspects = {}
    for pair in pairs:
        if len(set(pair["classes"])) == 2 and (pair["same_bytes"] or pair["method"] == "identical"):
            for name, other, label in zip(
                (pair["a"], pair["b"]), (pair["b"], pair["a"]), pair["classes"], strict=True
            ):
                suspects[name] = {
                    "name": name, "label": label, "why": f"the same picture as {other}",
                }  # fmt: skip
    clearest = _typical_of_the_other(features, labels[rows] == FAKE, folds[rows])
    for at in np.argsort(-clearest, kind="stable"):
        if clearest[at] <= 0.5 or len(suspects) >= most:
            break
        row = rows[at]
        name, label = index["name"][row], index.class_names[labels[row]]
        why = (
            f"more typical of {index.class_names[1 - labels[row]]} images, in colours and in"
            f" frequencies, than {100 * clearest[at]:.0f} % of them"
        )
        suspects.setdefault(name, {"name": name, "label": label, "why": why})
    return list(suspects.values())[:most]


def _typical_of_the_other(features: Features, fake: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Share of the other class that looks less like it than this image does: (N), 0 if unsure."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shares = np.ones(len(fake))
    for name in SUSPECTING:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTHS[0], max_iter=2000))
        p_fake = cross_val_predict(
            model, getattr(features, name), fake, cv=PredefinedSplit(folds), method="predict_proba"
        )[:, 1]
        if auroc(p_fake, np.where(fake, FAKE, REAL)) < ABLE:
            return np.zeros(len(fake))
        for kind in (True, False):
            towards = p_fake if not kind else -p_fake  # the other class, seen from this one
            others = np.sort(towards[fake != kind])
            here = fake == kind
            share = np.searchsorted(others, towards[here]) / len(others)
            shares[here] = np.minimum(shares[here], share)
    return shares
