"""Gathers the scorecards of this study beside this file, and fills README.md's tables.

python experiments/2026-11-21-scorecard/collect.py [RUNS]
"""

import json
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
SETS = ("synthetic", "ciplab")
NETWORKS = ("cnn6", "cnn6_plain", "resnet18", "cnn6, untrained")


def newest(runs: Path) -> dict[tuple[str, str], tuple[dict, Path]]:
    """The last scorecard of each network on the set that it was trained on."""
    found = {}
    for file in sorted(runs.glob("gradcam/*-scorecard/*/scorecard.json")):
        card = json.loads(file.read_text())
        name = card["network"].removeprefix(f"{card['set']}-")
        if card["set"] not in SETS or name not in NETWORKS:
            continue
        if "gradcam" not in card["options"]["methods"]:
            name += ", slow methods"
        found[card["set"], name] = card, file.parent
    return found


def shown(one: dict | None, digits: int = 2) -> str:
    if one is None or one["value"] is None:
        return "–"
    value, low, high = (round(one[key], digits) + 0.0 for key in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def lift(card: dict, method: str) -> str:
    one = card["masks"]["pixels"]["methods"].get(method)
    if one is None or one["lift"]["value"] is None:
        return "–"
    found = shown(one["lift"])
    if one["lift"]["holds"]:
        return f"**{found}**"
    return f"*{found}*" if one["lift"]["high"] < 1 else found


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows]]


def by_network(cards: dict, of_set: str, cell, methods: list[str]) -> list[str]:
    """One line a method, one column a network."""
    columns = [cards[of_set, name][0] for name in NETWORKS if (of_set, name) in cards]
    heads = [name for name in NETWORKS if (of_set, name) in cards]
    rows = [[method, *(cell(card, method) for card in columns)] for method in methods]
    return table(["maps of", *heads], rows)


def write(cards: dict) -> str:
    lines = []
    for of_set in SETS:
        some = next((card for (own, _), (card, _) in cards.items() if own == of_set), None)
        if some is None:
            continue
        methods = [*some["options"]["methods"], "occlusion"]
        masks = some["masks"]["pixels"]
        lines += [
            "", f"## {of_set}", "",
            f"{some['n']} pictures, {masks['n']} of them fakes whose edit is known to the pixel"
            f" ({masks['area']:.1%} of a picture on average).", "",
            "Share of the map inside the edit over that of the strongest control (even map, the"
            " middle, mean map of the others, random weights). **Bold**: above 1 against every"
            " control, after correction over methods. *Italics*: below 1.", "",
            *by_network(cards, of_set, lift, methods), "",
            "Share inside, and pointing game (the middle of the picture itself:"
            f" {shown(masks['methods']['gradcam']['share']['controls']['centre'])} and"
            f" {shown(masks['methods']['gradcam']['pointing']['controls']['centre'])})", "",
            *by_network(
                cards, of_set,
                lambda c, m: " / ".join(
                    shown(c["masks"]["pixels"]["methods"][m][key]) if m in
                    c["masks"]["pixels"]["methods"] else "–" for key in ("share", "pointing")),
                methods,
            ), "",
            "Rank correlation with occlusion over 7 x 7 cells", "",
            *by_network(cards, of_set, lambda c, m: shown(c["occlusion"].get(m)), methods[:-1]), "",
            "Lead over the middle when pixels are inserted / deleted (better: above / below 0)", "",
            *by_network(
                cards, of_set,
                lambda c, m: " / ".join(
                    shown(c["faithfulness"].get(m, {}).get(key, {}).get("lead"))
                    for key in ("insertion", "deletion")
                ),
                methods,
            ), "",
            "Rank correlation with the network's own maps when its last layer is random / when all"
            " weights are", "",
            *by_network(
                cards, of_set,
                lambda c, m: " / ".join(
                    shown(c["sanity"][m][k]) for k in (0, -1) if m in c["sanity"]
                ),
                [m for m in methods if m in some["sanity"]],
            ), "",
            "Was this part edited? AUROC of its share of the map: viewer's left eye, right eye,"
            " nose, mouth (point estimates; intervals in the scorecards)", "",
            *by_network(
                cards, of_set,
                lambda c, m: ", ".join(
                    "–" if one["value"] is None else f"{one['value']:.2f}"
                    for one in c["edited_auroc"][m]["map"].values()
                ) if m in c["edited_auroc"] else "–",
                methods,
            ), "",
            "Regions that a network was shown to look at", "",
            *by_network(
                cards, of_set,
                lambda c, m: ", ".join(
                    name.replace("_", " ") for name, one in c["regions"].get(m, {}).items()
                    if one["holds"]
                ) or "none",
                methods,
            ),
        ]  # fmt: skip
        slow = cards.get((of_set, "cnn6, slow methods"))
        if slow is not None:
            found = slow[0]["masks"]["pixels"]["methods"]
            rows = [
                [name, str(found[name]["lift"]["n"]), lift(slow[0], name)]
                for name in slow[0]["options"]["methods"]
            ]
            lines += ["", "The first table for cnn6 by slow methods:", ""]
            lines += table(["maps of", "pictures", "times"], rows)
    return "\n".join(lines).strip()


def short(cards: dict) -> str:
    """README's table: both sets, by network and method."""
    methods = ("gradcam", "hirescam", "layercam", "eigencam", "occlusion")
    rows = [
        [of_set, name, *(lift(cards[of_set, name][0], method) for method in methods)]
        for of_set in SETS
        for name in NETWORKS
        if (of_set, name) in cards
    ]
    return "\n".join(table(["set", "network", *methods], rows))


def fill(file: Path, start: str, end: str, text: str) -> None:
    """Replaces what stands between two comments."""
    old = file.read_text(encoding="utf-8")
    block = f"{start}\n{text}\n{end}"
    new = re.sub(f"{re.escape(start)}.*?{re.escape(end)}", lambda _: block, old, flags=re.S)
    file.write_text(new, encoding="utf-8")


def main(runs: Path) -> None:
    cards = newest(runs)
    if missing := [f"{n} on {s}" for s in SETS for n in NETWORKS if (s, n) not in cards]:
        print("no scorecard yet of", "; ".join(missing))
    for (of_set, name), (_, folder) in cards.items():
        target = HERE / of_set / name.replace(", ", "-").replace(" ", "-")
        target.mkdir(parents=True, exist_ok=True)
        for file in ("scorecard.md", "scorecard.png"):
            shutil.copy(folder / file, target)
    text = write(cards)
    fill(HERE / "README.md", "<!-- tables: printed by collect.py -->", "<!-- end -->", text)
    fill(
        HERE.parents[1] / "README.md", "<!-- scorecard: copied by collect.py -->",
        "<!-- end scorecard -->", short(cards),
    )  # fmt: skip
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
