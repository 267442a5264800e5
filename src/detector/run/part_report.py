"""What the terminal and the model card say of a part head."""

from collections.abc import Mapping, Sequence

from detector.evaluation.face_parts import AMONG, part_rows
from detector.evaluation.report import shown, table

PART_HEAD = "; and for each of eyes, nose and mouth the probability that it was edited"
TITLES = {"fakes": "edited, among {fake}", "all": "edited, among all"}


def card_lines(metrics: Mapping, fake: str) -> list[str]:
    """Markdown on the parts of validation or test; empty without a part head.

    Args:
        metrics: Of that part of the split.
        fake: Name of the class, safe to show.
    """
    rows = [
        [name, f"{of['fakes']['n_edited']} of {of['fakes']['n']}"]
        + [shown(of[among]["auroc"]) for among in AMONG]
        for name, of in part_rows(metrics)
    ]
    if not rows:
        return []
    says = (
        f"Which parts were edited, where that is known; left is the viewer's. AUROC among {fake}"
        " images alone says whether a part is told from the others; among all, to tell fakes from"
        " reals is most of it. No control is measured by part:"
    )
    header = ["part", f"edited {fake} images", f"AUROC among {fake} images", "AUROC among all"]
    return ["", says, "", *table(header, rows)]


def table_rows(metrics: Sequence[Mapping], fake: str) -> list[tuple[str, list[Mapping | None]]]:
    """For the terminal: labels with the AUROC in each of these metrics, headings with none.

    Args:
        metrics: Of the parts of the split.
        fake: Name of the class, safe to show.
    """
    found = [dict(part_rows(one)) for one in metrics]
    names = dict.fromkeys(name for one in found for name in one)
    rows: list[tuple[str, list[Mapping | None]]] = []
    for among in AMONG if names else ():
        rows.append((TITLES[among].format(fake=fake), []))
        for name in names:
            measures = [one[name][among]["auroc"] if name in one else None for one in found]
            rows.append((f"  {name}", measures))
    return rows
