"""report.md: an evaluation as a person reads it."""

from collections.abc import Mapping

from detector.evaluation.controls import CONTROLS

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


def shown(measure: Mapping | None) -> str:
    """A value with its interval, or a dash where it is undefined."""
    if measure is None or measure["value"] is None:
        return "–"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


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
    if result["seen_in_training"]:
        lines += [
            f"**{result['seen_in_training']} of these images were in its training: the figures"
            " say how well it remembers them, not how well it recognizes others.**",
            "",
        ]
    if against := result.get("against_controls"):
        lines += [f"**{against['says']}**", ""]
    lines += table(
        ["measure", "value"],
        [[name, shown(metrics[key])] for key, name in NAMES.items() if key in metrics],
    )
    if against:
        lines += ["", "## Classifiers that never see a face", ""]
        lines += table(
            ["control", "accuracy", "AUROC", "the network's lead, accuracy", "AUROC", "McNemar p"],
            [
                [
                    CONTROLS.get(name, name),
                    shown(control["accuracy"]),
                    shown(control["auroc"]),
                    shown(control["lead"]["accuracy"]),
                    shown(control["lead"]["auroc"]),
                    f"{control['lead']['mcnemar']['p']:.2g}",
                ]
                for name, control in against["controls"].items()
            ],
        )
        lines += ["", "Fitted on the images that the network was trained on."]
    filled = {name: kinds for name, kinds in result["slices"].items() if kinds}
    if filled:
        lines += ["", "## Kinds", "", f"Those {fake} of each kind against all {real}.", ""]
        lines += table(
            ["column", "kind", f"{fake} images", "AUROC", "found"],
            [
                [name, kind, str(d["n_fake"]), shown(d["auroc"]), shown(d["recall"])]
                for name, kinds in filled.items()
                for kind, d in kinds.items()
            ],
        )
    return "\n".join([*lines, ""])


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A markdown table, its cells safe from what would end them."""

    def line(cells: list[str]) -> str:
        safe = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return "| " + " | ".join(safe) + " |"

    return [line(header), "|" + " --- |" * len(header), *(line(row) for row in rows)]
