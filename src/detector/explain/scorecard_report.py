"""A scorecard in words and tables."""

from collections.abc import Mapping

from detector.data.sources import FACE_PARTS
from detector.evaluation.report import shown, table
from detector.explain.answers import CENTER, OCCLUSION
from detector.explain.looked_at import in_words

CONTROLS = {
    "uniform": "an even map",
    "centre": "the middle",
    "others": "mean map of the others",
    "random": "random weights",
}
KINDS = {
    "pixels": "Inside what was edited, to the pixel",
    "parts": "Inside the regions of the parts that were edited",
}


def markdown(result: Mapping) -> str:
    """The report.

    Args:
        result: What scorecard.json holds.
    """
    fake, real = result["class_names"]
    lines = [
        f"# How good are the heatmaps of {result['network']} on {result['set']}?",
        "",
        f"{result['n']} pictures of part {result['part']} ({result['n_of_class'][0]} {fake},"
        f" {result['n_of_class'][1]} {real}; {result['n_faces']} with a face that was found),"
        f" evidence for {result['explained']} in layer `{result['layer']}`. Trained on"
        f" {result['trained_on']}; {_seen(result)} Brackets are 95 % intervals.",
        "",
    ]
    lines += [f"- {sentence}" for sentence in headlines(result)]
    for section in (_masks, _parts, _regions, _changed, _sanity, _agreement):
        lines += section(result)
    return "\n".join([*lines, ""])


def headlines(result: Mapping) -> list[str]:
    """One sentence a method on what was edited, and one a region that is looked at."""
    found = []
    for kind in ("pixels", "parts"):
        methods = result["masks"][kind]["methods"]
        if methods:
            found += [points_at(method, one["lift"], kind) for method, one in methods.items()]
            break
    else:
        found.append("What was edited in these pictures is not known: no map can be compared.")
    for method, regions in result["regions"].items():
        if method == OCCLUSION:
            continue
        said = [in_words(name, one) for name, one in regions.items() if one["holds"]]
        found += [f"{method}: {sentence}" for sentence in said]
        if not said:
            found.append(f"{method}: of no region it was shown that the network looks at it.")
    return found


def points_at(method: str, lift: Mapping, kind: str) -> str:
    """Whether maps point at the edit, in one sentence.

    Args:
        method: That made the maps.
        lift: As `evidence.looked_at` gives it.
        kind: Of masks: pixels or parts.
    """
    there = "what was edited" if kind == "pixels" else "the parts that were edited"
    if lift["value"] is None:
        return (
            f"It was not shown that maps of {method} point at {there}: no picture has a map of its"
            " own and of every control."
        )
    strongest = CONTROLS[lift["strongest"]]
    figures = (
        f"{lift['share']:.0%} of a map lies inside, {lift['value']:.2f} times"
        f" [{lift['low']:.2f}, {lift['high']:.2f}] as much as of the strongest control"
        f" ({strongest}{'' if 'random' in lift['lifts'] else '; none with random weights'}),"
        f" {lift['n']} pictures"
    )
    if lift["holds"]:
        return f"**Maps of {method} point at {there}**: {figures}."
    if lift["high"] < 1:
        return f"**Maps of {method} do not point at {there}**: {figures}."
    return (
        f"It was not shown that maps of {method} point at {there}: {figures},"
        f" p = {lift['p_corrected']:.2g} after correction."
    )


def _seen(result: Mapping) -> str:
    if result["trained_on"] == "random weights":
        return "the network has learnt nothing."
    if not result["training_known"]:
        return "its run folder is gone, so that it may have been trained on some of these."
    said = "none of these pictures was in its training."
    if left := result["left_out_as_trained_on"]:
        said = f"{left} pictures of its training were left out."
    if result["part"] == "unseen":
        said += " Its validation is among them, which chose its weights."
    return said


def _masks(result: Mapping) -> list[str]:
    lines = []
    for kind, heading in KINDS.items():
        found = result["masks"][kind]
        if not found["methods"]:
            continue
        about = f"{found['n']} fakes; {found['area']:.1%} of a picture on average."
        if kind == "pixels":
            origin = ", ".join(f"{name} ({n})" for name, n in result["masks_from"].items())
            about += f" Masks: {origin}."
        names = [name for name in CONTROLS if any(
            name in one["lift"]["lifts"] for one in found["methods"].values())]  # fmt: skip
        rows = []
        for method, one in found["methods"].items():
            lifts = one["lift"]["lifts"]
            rows.append([
                method, str(one["share"]["n"]), shown(one["share"]),
                *(shown(lifts.get(name)) for name in names),
                shown(one["pointing"]), _best(one["pointing"]),
                shown(one["pixel_auroc"]), _best(one["pixel_auroc"]),
            ])  # fmt: skip
        header = ["maps of", "pictures with a map", "share inside"]
        header += [f"times {CONTROLS[name]}" for name in names]
        header += ["pointing game", "best control", "AUROC of pixels", "best control"]
        lines += ["", f"## {heading}", "", about, "", *table(header, rows)]
    return lines


def _best(measure: Mapping) -> str:
    """The best control of a measure, by name."""
    known = {k: c for k, c in measure["controls"].items() if c["value"] is not None}
    if not known:
        return "–"
    name = max(known, key=lambda key: known[key]["value"])
    return f"{known[name]['value']:.3f} ({CONTROLS[name]})"


def _parts(result: Mapping) -> list[str]:
    if not result["edited_auroc"]:
        return []
    rows = []
    for method, found in result["edited_auroc"].items():
        for key, parts in found.items():
            name = method if key == "map" else f"{method}, {CONTROLS[key]}"
            rows.append([name, *(shown(parts[part]) for part in FACE_PARTS)])
    one = next(iter(result["edited_auroc"].values()))["map"]
    counts = ", ".join(f"{_word(p)} {one[p]['n_edited']} of {one[p]['n']}" for p in FACE_PARTS)
    return [
        "", "## Was this part edited?", "",
        "AUROC of the part's share of the map, among fakes whose edited parts are known:"
        f" {counts}.", "",
        *table(["maps of", *map(_word, FACE_PARTS)], rows),
    ]  # fmt: skip


def _regions(result: Mapping) -> list[str]:
    lines = []
    for method, regions in result["regions"].items():
        rows = [
            [
                _word(name), shown({k: one[k] for k in ("value", "low", "high")}),
                CONTROLS[one["strongest"]], _share(one["share"]), _share(one["control"]),
                "–" if one["p_corrected"] is None else f"{one['p_corrected']:.2g}",
                "yes" if one["holds"] else "not shown",
            ]
            for name, one in regions.items()
        ]  # fmt: skip
        header = ["region", "times the strongest control", "which", "share of the map",
                  "of the control", "p", "looked at"]  # fmt: skip
        lines += ["", f"## Regions, {method}", "", *table(header, rows)]
    return lines


def _changed(result: Mapping) -> list[str]:
    rows = []
    for method, one in result["faithfulness"].items():
        names = ("insertion", "deletion", "road")
        cells = [method if method != CENTER else CONTROLS["centre"], str(one["insertion"]["n"])]
        cells += [shown(one[name].get("lead")) for name in names]
        rows.append(cells + [shown(one[name]) for name in names])
    if not rows:
        return []
    header = ["pixels in the order of", "pictures", "insertion, lead", "deletion, lead",
              "ROAD, lead", "insertion", "deletion", "ROAD"]  # fmt: skip
    return [
        "", "## Does the answer depend on what is marked?", "",
        f"Area under the probability of {result['explained']} while pixels are put into a blurred"
        " picture (insertion, higher is better) or taken out (deletion, lower is better), and ROAD"
        " (higher is better). The lead is over a map that looks at the middle, on the same"
        " pictures; the other figures are each over the pictures where the method has a map, and"
        f" not to be compared. Changed pictures were scored in {result['precision_of_changed']}.",
        "", *table(header, rows),
    ]  # fmt: skip


def _sanity(result: Mapping) -> list[str]:
    found = result["sanity"]
    if not found:
        return []
    names = [stage["from"] for stage in next(iter(found.values()))]
    rows = [
        [f"`{name}`", *(f"{shown(stages[k])}, n {stages[k]['n']}" for stages in found.values())]
        for k, name in enumerate(names)
    ]
    return [
        "", "## Do maps need what was learnt?", "",
        "Rank correlation with the network's own maps once its weights are random from the answer"
        " down to this layer. Maps that explain what was learnt fall to 0.", "",
        *table(["random down to", *found], rows),
    ]  # fmt: skip


def _agreement(result: Mapping) -> list[str]:
    rows = [
        [CONTROLS["centre"] if method == CENTER else method, shown(one)]
        for method, one in result["occlusion"].items()
    ]
    grid = result["options"]["grid"]
    return [
        "", "## Agreement with occlusion", "",
        f"Rank correlation, over {grid} x {grid} cells, with how far the answer falls when the cell"
        " is covered.", "", *table(["maps of", "correlation"], rows),
    ]  # fmt: skip


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _word(name: str) -> str:
    return name.replace("_", " ")
