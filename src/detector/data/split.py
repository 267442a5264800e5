"""Train, validation and test, by group: a photograph and its edit never part.

Groups are dealt in an order that depends on nothing but the seed and the group's
name, each to the part that lacks most of what the group holds. So the parts keep
the mix of classes, the result does not depend on the order of the files, and a
group is never divided.
"""

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b

import numpy as np

from detector.errors import UserError

PARTS = ("train", "val", "test")


def deal(groups: Sequence[str], strata: Sequence, shares: Sequence[float], seed: int) -> np.ndarray:
    """Deal images to parts by group, stratified.

    Args:
        groups: Group name of each image (N).
        strata: What to keep in proportion in each part, e.g. the label (N).
        shares: Relative size of each part (P), above 0.
        seed: Changes the order in which groups are dealt.

    Returns:
        int64 (N), the part of each image, 0..P-1.
    """
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    _, stratum = np.unique(np.asarray(strata, dtype=str), return_inverse=True)
    holds = np.zeros((len(names), stratum.max(initial=0) + 1))
    np.add.at(holds, (member, stratum), 1)
    target = np.outer(np.asarray(shares) / np.sum(shares), holds.sum(0))
    have = np.zeros_like(target)
    order = [blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in names]
    size = holds.sum(1)
    part_of_group = np.zeros(len(names), np.int64)
    # The largest groups first: the many single images then even out what these disturb.
    for group in sorted(range(len(names)), key=lambda g: (-size[g], order[g])):
        lacks = (target - have) / np.maximum(target, 1e-9)
        part = int(np.argmax(lacks @ holds[group]))
        part_of_group[group] = part
        have[part] += holds[group]
    return part_of_group[member]


def split_parts(
    labels: np.ndarray,
    groups: Sequence[str],
    strata: Sequence,
    *,
    fractions: Mapping[str, float],
    folds: int | None,
    fold: int,
    seed: int,
    by_group: bool = True,
    classes: Collection[int] = (0, 1),
) -> np.ndarray:
    """Name the part of each image.

    Args:
        labels: int (N), 0 or 1.
        groups: Group name of each image (N).
        strata: What to keep in proportion beside the label (N), e.g. the difficulty.
        fractions: Shares of train, val and test; used without folds.
        folds: Cut into so many folds: fold `fold` is the test part, the next one
            validation, the others train. None for a single split by `fractions`.
        fold: Which fold, 0..folds-1.
        seed: Of the split, not of the training.
        by_group: False deals single images instead, which lets copies cross. It exists
            to measure what that leak is worth.
        classes: Labels that each part has to hold; a single one for a set of one class.

    Returns:
        str (N): train, val or test.

    Raises:
        UserError: Fractions or folds make no sense, or a part would miss a class.
    """
    keys = groups if by_group else [f"{group}/{row}" for row, group in enumerate(groups)]
    strata = [f"{label}/{stratum}" for label, stratum in zip(labels, strata, strict=True)]
    if folds is None:
        if set(fractions) != set(PARTS) or any(
            not isinstance(f, (int, float)) or f <= 0 for f in fractions.values()
        ):
            raise UserError(
                f"data.split.fractions={dict(fractions)}: give train, val and test, each above 0"
            )
        parts = np.array(PARTS)[deal(keys, strata, [fractions[p] for p in PARTS], seed)]
    else:
        fewest = min(len(set(np.asarray(keys)[labels == label])) for label in classes)
        if not isinstance(folds, int) or not 3 <= folds <= fewest:
            raise UserError(
                f"data.split.folds={folds}: give at least 3 and at most {fewest}, the number of"
                " independent images in the smaller class"
            )
        if fold not in range(folds):
            raise UserError(f"data.split.fold={fold}: with {folds} folds it goes 0..{folds - 1}")
        dealt = deal(keys, strata, [1] * folds, seed)
        parts = np.full(len(labels), "train", dtype="<U5")
        parts[dealt == fold] = "test"
        parts[dealt == (fold + 1) % folds] = "val"
    check_parts(labels, parts, classes)
    return parts


def check_parts(labels: np.ndarray, parts: np.ndarray, classes: Collection[int] = (0, 1)) -> None:
    """Refuse parts in which a class is missing.

    Raises:
        UserError: Train, val or test lacks one of `classes`.
    """
    lacking = " and not both classes" if len(classes) > 1 else ""
    for part in PARTS:
        present = set(labels[parts == part].tolist())
        if present != set(classes):
            raise UserError(
                f"the {part} part would hold {int((parts == part).sum())} of {len(labels)} images"
                f"{lacking}: add images or change data.split"
            )
