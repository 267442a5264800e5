"""report.md: an evaluation as a person reads it."""

from collections.abc import Mapping

from detector.evaluation.controls import CONTROLS
from detector.evaluation.refused import in_words

NAMES = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "ap": "average precision",
    "eer": "equal error rate",
    "tpr_at_fpr_01": "found at 1 % false alarms",
    "tpr_at_fpr_05": "found at 5 % false alarms",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}
USUAL = ("accuracy", "balanced_accuracy", "auroc", "recall")


def shown(measure: Mapping | None) -> str:
    """A value with its interval, or a dash where it is undefined."""
    if measure is None or measure["value"] is None:
        return "–"
    # Adding 0 takes the sign from -0.
    value, low, high = (round(measure[key], 3) + 0.0 for key in ("value", "low", "high"))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def markdown(result: Mapping) -> str:
    """The report.

    Args:
        result: What an evaluation's metrics.json holds.
    """
    metrics, (fake, real) = result["metrics"], result["class_names"]
    part = "all images" if result["part"] == "all" else f"{result['part']} part"
    lines = [
        f"# {result['network']} on {result['set']}, {part}",
        "",
        f"{metrics['n']} images: {metrics['n_fake']} {fake}, {metrics['n_real']} {real}, in"
        f" {metrics['n_groups']} groups. {fake} is called from p_{fake} {metrics['threshold']:.3g}."
        f" Trained on {result['trained_on']}. Brackets are 95 % intervals.",
        "",
    ]
    lines += _known(result)
    against = result.get("against_controls")
    if against:
        lines += [f"**{against['says']}**", ""]
    lines += table(
        ["measure", "value"],
        [[name, shown(metrics[key])] for key, name in NAMES.items() if key in metrics],
    )
    for section in (
        _sets, _controls, _calibration, _refused, _false_alarms, _usual_table, _kinds, _robustness
    ):  # fmt: skip
        lines += section(result)
    return "\n".join([*lines, ""])


def _known(result: Mapping) -> list[str]:
    """What the network had to do with these images before."""
    if (seen := result["seen_in_training"]) is None:
        return ["Its run folder is gone: it may have been trained on some of these images.", ""]
    lines = []
    if seen:
        lines += [
            f"**{seen} of these images were in its training: the figures say how well it remembers"
            " them, not how well it recognizes others.**",
            "",
        ]
    if chosen := result["chosen_on"]:
        lines += [
            f"**{chosen} of these images chose its weights, its temperature and its threshold: the"
            " figures are too good.**",
            "",
        ]
    if not result["metrics"]["n_fake"] or not result["metrics"]["n_real"]:
        lines += [
            "One class only: what weighs one class against the other has a dash, accuracy is the"
            " share of this class that is recognized, and there is nothing to say of calibration.",
            "",
        ]
    return lines


def _sets(result: Mapping) -> list[str]:
    if not (found := result.get("sets")):
        return []
    lines = ["", "## Each set alone", "", "Its own images, at the common threshold.", ""]
    return lines + set_table(found, *result["class_names"])


def set_table(found: Mapping[str, Mapping], fake: str, real: str) -> list[str]:
    """A Markdown table of several sets.

    Args:
        found: As `per_set.per_set` gives it.
        fake: Name of class 0.
        real: Name of class 1.
    """
    rows = [
        [
            name + (" (left out of training)" if of["left_out"] else ""),
            str(of["n_fake"]),
            str(of["n_real"]),
            *(shown(of[key]) for key in ("auroc", "accuracy")),
        ]
        for name, of in found.items()
    ]
    header = ["set", f"{fake} images", f"{real} images", NAMES["auroc"], NAMES["accuracy"]]
    return table(header, rows)


def _controls(result: Mapping) -> list[str]:
    if not (against := result.get("against_controls")):
        return []
    rows = [
        [
            CONTROLS.get(name, name),
            shown(control["accuracy"]),
            shown(control["auroc"]),
            shown(control["lead"]["accuracy"]),
            shown(control["lead"]["auroc"]),
            f"{control['lead']['mcnemar']['p']:.2g}",
        ]
        for name, control in against["controls"].items()
    ]
    header = ["control", "accuracy", "AUROC", "the network's lead, accuracy", "AUROC", "McNemar p"]
    lines = ["", "## Classifiers that never see a face", "", *table(header, rows), ""]
    lines += ["Fitted on the images that the network was trained on."]
    if normalizer := result.get("normalize"):
        lines += [
            f"They see the files as they are, the network each as a JPEG of {normalizer['size']}"
            f" pixels and quality {normalizer['quality']}."
        ]
    if result.get("crop"):
        lines += ["They see whole pictures, the network the largest face of each, cut out."]
    return lines


def _calibration(result: Mapping) -> list[str]:
    if not (found := result.get("calibration")):
        return []
    before, metrics, given = found["uncalibrated"], result["metrics"], found["answered"]
    rows = [
        [NAMES[key], shown(before[key]), shown(metrics[key])]
        for key in ("log_loss", "brier", "ece")
    ]
    lines = ["", "## Do the scores mean what they say?", "", f"**{found['says']}**", ""]
    lines += table(["measure", "before calibration", "after"], rows)
    if given["coverage"]["value"] is not None and given["n"] < metrics["n"]:
        lines += [
            "",
            f'With "unsure" for scores near the threshold, {shown(given["coverage"])} of the'
            f" pictures get an answer, and {shown(given['risk'])} of these answers are wrong"
            f" (of all: {1 - metrics['accuracy']['value']:.3f}).",
        ]
    return lines


def _refused(result: Mapping) -> list[str]:
    if not (found := result.get("refused")):
        return []
    lines = ["", "## Pictures unlike those of its training", ""]
    return [*lines, *in_words(found, shown(found["share"]), result["gate"]["alpha"])]


def _false_alarms(result: Mapping) -> list[str]:
    if not (found := result.get("false_alarms")):
        return []
    fake, real = result["class_names"]
    rows = [["all", "", str(found["n"]), shown(found["rate"])]] + [
        [column, value, str(of["n"]), shown(of["rate"])]
        for column, known in found["columns"].items()
        for value, of in known["values"].items()
    ]
    header = ["of", "group", f"{real} images", f"called {fake}"]
    return ["", "## False alarms", "", found["says"], "", *table(header, rows)]


def _usual_table(result: Mapping) -> list[str]:
    if not (beside := result.get("usual_table")):
        return []
    fake, real = result["class_names"]
    rows = [
        [name, str(d["n_fake"]), str(d["n_real"]), *(shown(d[key]) for key in USUAL)]
        for name, d in (("all", result["metrics"]), (f"the usual table of {real}", beside))
    ]
    header = ["JPEG table", f"{fake} images", f"{real} images", *(NAMES[key] for key in USUAL)]
    lines = ["", "## Files that were written alike", ""]
    lines += [
        f"Only the {fake} images whose JPEG table is the one that most {real} images have:",
        "",
    ]
    return lines + table(header, rows)


def _kinds(result: Mapping) -> list[str]:
    fake, real = result["class_names"]
    filled = {name: kinds for name, kinds in result["slices"].items() if kinds}
    if not filled:
        return []
    theirs = f"the {real} of their sets" if result.get("sets") else f"all {real}"
    lines = ["", "## Kinds", "", f"Those {fake} of each kind against {theirs}.", ""]
    return lines + table(
        ["column", "kind", f"{fake} images", "AUROC", "found"],
        [
            [name, kind, str(d["n_fake"]), shown(d["auroc"]), shown(d["recall"])]
            for name, kinds in filled.items()
            for kind, d in kinds.items()
        ],
    )


def _robustness(result: Mapping) -> list[str]:
    if not (measured := result.get("robustness")):
        return []
    rows = [
        [row["label"], "" if row["strength"] is None else f"{row['strength']:g}"]
        + [shown(row[key]) for key in ("auroc", "difference", "flipped")]
        for row in measured
    ]
    header = ["perturbation", "strength", "AUROC", "change", "verdicts that differ"]
    return ["", "## Pictures that were passed on", "", *table(header, rows)]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A markdown table, its cells safe from what would end them."""

    def line(cells: list[str]) -> str:
        safe = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return "| " + " | ".join(safe) + " |"

    return [line(header), "|" + " --- |" * len(header), *(line(row) for row in rows)]
