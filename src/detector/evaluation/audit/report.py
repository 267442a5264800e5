"""The audit in Markdown, and its few lines for the terminal."""

from collections.abc import Callable, Mapping

from detector.evaluation.audit.words import TELLS
from detector.evaluation.controls import CONTROLS


def telling(found: Mapping) -> list[dict]:
    """Properties whose interval lies above .55, the most telling first."""
    return [p for p in found["properties"].values() if (p["auroc"]["low"] or 0) > TELLS]


def summary(found: Mapping) -> str:
    """What the terminal says, in lines of plain text.

    Args:
        found: What audit.json holds.
    """
    fake, real = found["class_names"]
    lines = [f"{found['n']} images: {found['n_real']} {real}, {found['n_fake']} {fake}", ""]
    worst = telling(found)
    if worst:
        lines.append("what tells the classes apart without a face (AUROC of it alone):")
        lines += [f"  {_measure(p['auroc'])}  {p['says']}" for p in worst[:6]]
        if len(worst) > 6:
            lines.append(f"  and {len(worst) - 6} more above .55: see audit.md")
    else:
        lines.append("no single property tells the classes apart (no AUROC surely above .55)")
    sure = [line for p in found["properties"].values() for line in p["certain"]]
    if sure:
        lines += ["", "what gives some images away for sure:", *(f"  {line}" for line in sure)]
    controls = found["controls"]
    lines += ["", f"controls, fitted on train, on {controls['part']} ({controls['n']} images):"]
    lines.append(f"  {'':9}{'accuracy':22}AUROC")
    lines += [
        f"  {name:9}{_measure(controls[name]['accuracy']):22}{_measure(controls[name]['auroc'])}"
        for name in CONTROLS
    ]
    lines += ["", *_sentences(found)]
    if found["fail"]["above"] is not None and not found["fail"]["by"]:
        lines += ["", verdict(found)]  # what fails is said once, on stderr
    return "\n".join(lines)


def verdict(found: Mapping) -> str:
    """One line: which AUROC is above the limit, or that none is."""
    by, above = found["fail"]["by"], found["fail"]["above"]
    if not by:
        return f"audit.fail_above={above:g}: passed, no AUROC is surely above it"
    return f"audit.fail_above={above:g}: surely above it are {', '.join(by)}"


def markdown(found: Mapping) -> str:
    """audit.md."""
    fake, real = found["class_names"]
    part = found["controls"]["part"]
    parts = ", ".join(f"{n} {part}" for part, n in found["parts"].items())
    lines = [
        f"# Audit of {found['data']}",
        "",
        f"{found['n']} images, {found['n_real']} {real} and {found['n_fake']} {fake}, in"
        f" {found['n_groups']} groups; split: {parts}. Intervals are of 95 %.",
        "",
        "![properties and controls](audit.png)",
        "",
        "## One property at a time",
        "AUROC of a score that knows nothing but this property: the share of fakes among images"
        " of other folds that are like this one in it, compared within folds. At .5, or a little"
        " below, it tells nothing.",
        "",
        "| property | AUROC | images | what differs |",
        "| --- | --- | --- | --- |",
        *(
            f"| {p['title']} | {_measure(p['auroc'])} | {p['n']} | {p['says']} |"
            for p in found["properties"].values()
        ),
        *_listed(
            "What gives some images away for sure",
            [line for p in found["properties"].values() for line in p["certain"]],
            str,
        ),
        "",
        "## Classifiers that never see the face",
        f"Fitted on the train part, read on {found['controls']['part']}"
        f" ({found['controls']['n']} images)."
        + (" val also chose their settings, which favours them a little." * (part == "val"))
        + (
            f" They know a random {found['controls']['images']} of the {found['n']} images."
            * (found["controls"]["images"] < found["n"])
        ),
        "",
        "| control | accuracy | AUROC | what it knows |",
        "| --- | --- | --- | --- |",
    ]
    for name, says in CONTROLS.items():
        measured = found["controls"][name]
        cells = (name, _measure(measured["accuracy"]), _measure(measured["auroc"]), says)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Copies, damage, labels", *(f"- {line}" for line in _sentences(found))]
    lines += _listed("Pairs", found["pairs"]["list"], _pair)
    lines += _listed("Unreadable files", found["corrupt"], lambda c: f"{c['name']}: {c['why']}")
    lines += _listed(
        "Perhaps in the wrong class (a hint, to be looked at)",
        found["suspects"],
        lambda s: f"{s['name']} ({s['label']}): {s['why']}",
    )
    if found["fail"]["above"] is not None:
        lines += ["", verdict(found)]
    return "\n".join(lines) + "\n"


def _sentences(found: Mapping) -> list[str]:
    fake, real = found["class_names"]
    rule, pairs = found["header_rule"], found["pairs"]
    low, high = rule["interval"]
    if rule["called_fake"]:
        table = (
            f'rule "another JPEG table than most {real} images means {fake}":'
            f" {rule['accuracy']:.3f} [{low:.3f}, {high:.3f}] right;"
            f" {rule['called_fake']} called {fake}, {rule['precision']:.3f} of them rightly"
        )
    else:
        table = "all files have the same JPEG quantization table, or none: it tells nothing"
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(pairs["by_kind"].items()))
    copies = (
        f"{pairs['count']} pairs that belong together ({kinds}):"
        f" {pairs['across_classes']} across the classes, {pairs['across_parts']} across the split,"
        f" {pairs['same_bytes']} identical to the byte"
        if pairs["count"]
        else "no pictures that belong together"
    )
    if not pairs["searched"]:
        copies += " (copies to the byte only: near copies were not looked for)"
    return [
        table,
        copies,
        f"{len(found['corrupt'])} unreadable files" if found["corrupt"] else "no unreadable file",
        f"{len(found['suspects'])} images may lie in the wrong class (a hint)"
        if found["suspects"]
        else "no image looks as if it were in the wrong class",
    ]


def _listed(title: str, entries: list, say: Callable, most: int = 100) -> list[str]:
    if not entries:
        return []
    more = [f"- and {len(entries) - most} more, in audit.json"] if len(entries) > most else []
    return ["", f"### {title}", *(f"- {say(entry)}" for entry in entries[:most]), *more]


def _pair(pair: Mapping) -> str:
    return (
        f"{pair['a']} and {pair['b']}: {pair['kind']}, found by {pair['method']};"
        f" {' and '.join(dict.fromkeys(pair['classes']))};"
        f" {' and '.join(dict.fromkeys(pair['parts']))}"
    )


def _measure(measure: Mapping) -> str:
    if measure["value"] is None:
        return "-"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"
