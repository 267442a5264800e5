"""How much of the maps of each class falls on each region of the face, with intervals.

This describes the maps. That a network looks at a region is said by `evidence.looked_at` alone,
which holds it against controls.
"""

from collections.abc import Mapping

from detector.evaluation.report import shown, table
from detector.explain.aligned import Aligned
from detector.explain.evidence import lift, mean_share
from detector.explain.regions import REGIONS


def region_table(found: Aligned, *, replicates: int, seed: int) -> dict:
    """Counts of one class, and each region's share, area and lift.

    Args:
        found: The pictures of the class.
        replicates: Of the bootstrap by group.
        seed: Of the bootstrap.

    Returns:
        `Aligned.counts`, and `regions`: by name `share` as `mean_share` gives it, `area`, the mean
        share of the picture that the region takes (None where it is in no picture), and `lift`,
        share over area: how many times as much of the map lies there as of an even map.
    """
    shares, areas, groups = found.table()
    settings = {"replicates": replicates, "seed": seed}
    rows = {}
    for at, name in enumerate(REGIONS):
        over = lift(shares[:, at], areas[:, at], groups, **settings)
        rows[name] = {
            "share": mean_share(shares[:, at], groups, **settings),
            "area": over["control"],
            "lift": {key: over[key] for key in ("value", "low", "high", "n", "n_undefined")},
        }
    return found.counts() | {"regions": rows}


def counts_in_words(counts: Mapping) -> str:
    """How many pictures are in a mean, and why the others are not."""
    words = [f"{counts['mapped']} of {counts['images']} images"]
    if counts["no_face"]:
        words.append(f"no face found in {counts['no_face']}")
    if counts["empty"]:
        words.append(f"an empty map in {counts['empty']}")
    return ", ".join(words)


def densest(counts: Mapping, most: int = 3) -> str:
    """The regions of a class with the highest lift, in one line; "" where none is known."""
    lifts = {name: row["lift"] for name, row in counts["regions"].items()}
    known = [name for name, found in lifts.items() if found["value"] is not None]
    known.sort(key=lambda name: -lifts[name]["value"])
    return ", ".join(
        "{} {value:.2f} [{low:.2f}, {high:.2f}]".format(name.replace("_", " "), **lifts[name])
        for name in known[:most]
    )


def markdown(result: Mapping) -> str:
    """regions.md.

    Args:
        result: What regions.json holds.
    """
    explained, classes = result["explained"], result["classes"]
    lines = [
        f"# Where the maps of {explained} lie, by region",
        "",
        f"{result['method']} maps of what spoke for {explained}, on {result['part']} images, with"
        f" the weights of epoch {result['epoch']}. Share: of the map, mean over the images. Area:"
        " share of the picture that the region takes, which is what an even map has there. Lift:"
        " share over area, 1 for an even map. Brackets are 95 % intervals by group, widened by what"
        " so many images may have failed to show. A map is empty where nothing spoke for"
        f" {explained}. Left and right are the viewer's.",
        "",
        "This describes the maps. It does not show that the network looks at a region: that takes"
        " controls.",
        "",
    ]
    for name, counts in classes.items():
        more = counts["in_part"] - counts["images"]
        of = f" ({more} more were left out, by heatmaps.mean_images)" if more else ""
        lines.append(f"- {name}: {counts_in_words(counts)}{of}.")
    header = ["region"]
    for name in classes:
        header += [f"area, {name}", f"share, {name}", f"lift, {name}"]
    rows = []
    for region in REGIONS:
        cells = [region.replace("_", " ")]
        for counts in classes.values():
            row = counts["regions"][region]
            area = "–" if row["area"] is None else f"{row['area']:.3f}"
            cells += [area, shown(row["share"]), shown(row["lift"])]
        rows.append(cells)
    return "\n".join([*lines, "", *table(header, rows), ""])
