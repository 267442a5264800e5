"""The folder of an evaluation: numbers, answers, figures, a report, and TensorBoard's copy."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from detector.evaluation.calibration import Calibration
from detector.evaluation.false_alarms_figure import false_alarms_figure
from detector.evaluation.figure import plot_evaluation
from detector.evaluation.measures import Scored
from detector.evaluation.report import NAMES, markdown
from detector.evaluation.robustness_figure import robustness_figure
from detector.run import folder as run_folder


def write_evaluation(folder: Path, metrics: Mapping, scored: Scored, score_name: str) -> str:
    """Writes predictions.csv, metrics.json, report.md, the figures and `tensorboard/`.

    Args:
        folder: Where; it exists.
        metrics: What metrics.json is to hold.
        scored: The images.
        score_name: Column of the score, `p_fake` for faces.

    Returns:
        The report.
    """
    index, (p, labels, groups) = scored.index, scored.images
    names = [index["name"][row] for row in scored.rows]
    lines = zip(names, labels.tolist(), groups, (f"{s:.9g}" for s in p), strict=True)
    run_folder.write_csv(folder / "predictions.csv", ("path", "label", "group", score_name), lines)
    run_folder.write_json(folder / "metrics.json", metrics)
    title = f"{metrics['network']} on {metrics['set']}, {metrics['part']}: {len(names)} images"
    pictures = {"evaluation": folder / "evaluation.png"}
    plot_evaluation(
        p, labels, groups, pictures["evaluation"], threshold=scored.threshold,
        metrics=metrics["metrics"], class_names=index.class_names, title=title,
        before=Calibration().scores(scored.margins),
        given=(metrics["calibration"] or {}).get("answered"),
        controls=(metrics["against_controls"] or {}).get("controls"),
    )  # fmt: skip
    if rows := metrics.get("robustness"):
        pictures["robustness"] = folder / "robustness.png"
        robustness_figure(rows, title).savefig(pictures["robustness"])
    if found := metrics["false_alarms"]:
        pictures["false alarms"] = folder / "false_alarms.png"
        false_alarms_figure(found, title, index.class_names).savefig(pictures["false alarms"])
    text = markdown(metrics)
    (folder / "report.md").write_text(text, encoding="utf-8")
    _tensorboard(folder / "tensorboard", metrics, scored, text, pictures)
    return text


def _tensorboard(
    folder: Path, metrics: Mapping, scored: Scored, text: str, pictures: Mapping[str, Path]
) -> None:
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        # A blank line ends a markdown table, which TensorBoard then shows as one.
        writer.add_text("report", text)
        for name, path in pictures.items():
            writer.add_image(name, np.array(Image.open(path).convert("RGB")), dataformats="HWC")
        for key in NAMES:
            if (value := metrics["metrics"][key]["value"]) is not None:
                writer.add_scalar(f"evaluate/{key}", value)
        if 0 < scored.labels.sum() < len(scored.labels):
            writer.add_pr_curve("precision and recall", scored.labels == 0, scored.p_fake)
