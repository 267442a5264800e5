"""Pictures that occur more than once: in a class, across the classes, across the split."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

from detector.data.index import Index


def report_pairs(index: Index, parts: np.ndarray) -> dict:
    """What the index knows of copies, with the classes and the parts that they join.

    Args:
        index: The set.
        parts: Part of each image: str (N).

    Returns:
        `count`, `by_kind` (`copy`, `part`, `shoot`: see `Index`), `same_bytes`,
        `across_classes` and `across_parts` (numbers of pairs), `groups` and `largest_group`
        of images that belong together, and `list`, of `a` and `b` (names), `kind`, `method`,
        `classes`, `parts`, `same_bytes`. Copies with the same bytes are chained (first to
        second to third); across classes and parts that is so too.
    """
    names, digests = index["name"], index["sha256"]
    found = {(a, b): (kind, method) for a, b, kind, method in index.pairs}
    same = defaultdict(list)
    for row, digest in enumerate(digests):
        same[digest].append(row)
    for rows in same.values():
        for pair in pairwise(rows):
            found.setdefault(pair, ("copy", "bytes"))
    pairs = [
        {
            "a": names[a],
            "b": names[b],
            "kind": kind,
            "method": method,
            "classes": [index.class_names[index["label"][row]] for row in (a, b)],
            "parts": [str(parts[row]) for row in (a, b)],
            "same_bytes": digests[a] == digests[b],
        }
        for (a, b), (kind, method) in sorted(found.items())
    ]
    sizes = Counter(index["group"])
    return {
        "count": len(pairs),
        "by_kind": dict(Counter(pair["kind"] for pair in pairs)),
        "same_bytes": sum(pair["same_bytes"] for pair in pairs),
        "across_classes": sum(len(set(pair["classes"])) == 2 for pair in pairs),
        "across_parts": sum(len(set(pair["parts"])) == 2 for pair in pairs),
        "groups": sum(size > 1 for size in sizes.values()),
        "largest_group": max(sizes.values()),
        "list": pairs,
    }
