"""compare.md: a comparison as a person reads it."""

from collections.abc import Mapping

from detector.evaluation.averaged import LOWER_IS_BETTER, MEASURES
from detector.evaluation.report import NAMES, shown, table


def signed(measure: Mapping | None, sign: int = 1) -> str:
    """A difference with its interval, or a dash where it is undefined.

    Args:
        measure: `value`, `low` and `high`.
        sign: -1 turns the difference around.
    """
    if measure is None or measure["value"] is None:
        return "–"
    # Rounded and then added to 0, what is just below it does not read -0.000.
    value, *ends = (0 + round(sign * measure[end], 3) for end in ("value", "low", "high"))
    low, high = sorted(ends)
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def sentence(pair: Mapping, spread: Mapping[str, Mapping]) -> str:
    """Which of two is better by AUROC (by accuracy where there is one class), and how surely.

    Args:
        pair: As `compare_entries` gives it.
        spread: Over the seeds of each entry, by name, as `compare_entries` gives it.
    """
    a, b, difference = pair["a"], pair["b"], pair["difference"]
    key = "auroc" if difference["auroc"]["value"] is not None else "accuracy"
    found, name = difference[key], NAMES[key]
    sds = [spread[one][key]["sd"] for one in (a, b)]
    seeds = "" if None in sds else f" (sd over seeds: {sds[0]:.3f} and {sds[1]:.3f})"
    if found["low"] > 0:
        return f"{a} is better than {b}: {signed(found)} {name}{seeds}."
    if found["high"] < 0:
        seeds = "" if None in sds else f" (sd over seeds: {sds[1]:.3f} and {sds[0]:.3f})"
        return f"{b} is better than {a}: {signed(found, -1)} {name}{seeds}."
    return (
        f"Nothing here shows that {a} and {b} differ in {name}: the first minus the second is"
        f" {signed(found)}, and the interval includes 0{seeds}."
    )


def markdown(found: Mapping) -> str:
    """The report.

    Args:
        found: What compare.json holds.
    """
    fake, real = found["class_names"]
    part = "all images" if found["part"] == "all" else f"{found['part']} part"
    lines = [
        f"# Comparison of {len(found['entries'])} on {found['set']}, {part}",
        "",
        f"{found['n']} images: {found['n_fake']} {fake}, {found['n_real']} {real}, in"
        f" {found['n_groups']} groups{_folds(found['folds'])}. Brackets are 95 % intervals.",
        "",
        *(f"- **{pair['says']}**" for pair in found["pairs"]),
        "",
        *(f"{note}\n" for note in notes(found)),
        "## Each by itself",
        "",
        *table(
            ["", "networks", *(NAMES[key] for key in MEASURES)],
            [
                [name, str(entry["networks"]), *(shown(entry["metrics"][k]) for k in MEASURES)]
                for name, entry in found["entries"].items()
            ],
        ),
        "",
        "## Differences",
        "",
        *table(
            ["a minus b", *(_title(key) for key in MEASURES)],
            [
                [f"{pair['a']} − {pair['b']}", *(signed(pair["difference"][k]) for k in MEASURES)]
                for pair in found["pairs"]
            ],
        ),
        "",
        "## Spread over seeds",
        "",
        "Standard deviation of each metric from training to training, averaged over folds first.",
        "",
        *table(
            ["", "seeds", *(NAMES[key] for key in MEASURES)],
            [
                [name, str(len(entry["by_seed"])), *(_sd(entry["spread"][k]) for k in MEASURES)]
                for name, entry in found["entries"].items()
            ],
        ),
        "",
        "## Images on which one alone is right",
        "",
        *table(
            ["a, b", "only a", "only b", "McNemar p", "p, corrected (Holm)"],
            [
                [
                    f"{pair['a']}, {pair['b']}",
                    str(pair["mcnemar"]["only_a"]),
                    str(pair["mcnemar"]["only_b"]),
                    f"{pair['mcnemar']['p']:.2g}",
                    f"{pair['mcnemar']['p_holm']:.2g}",
                ]
                for pair in found["pairs"]
            ],
        ),
        "",
    ]
    return "\n".join(lines)


def notes(found: Mapping) -> list[str]:
    """What a reader has to know before the figures are believed."""
    entries, pairs = found["entries"], found["pairs"]
    seeds = {name: len(entry["by_seed"]) for name, entry in entries.items()}
    said = [
        f"{name} was trained on {entry['seen_in_training']} of these images: its figures say how"
        " well it remembers them."
        for name, entry in entries.items()
        if entry["seen_in_training"]
    ]
    if min(seeds.values()) == 1:
        alone = (
            "Each" if max(seeds.values()) == 1 else " and ".join(n for n in seeds if seeds[n] == 1)
        )
        said.append(
            f"{alone} was trained with one seed. Intervals are about other images, not about other"
            " trainings: another seed may turn a small difference around."
        )
    if found["part"] == "val":
        said.append("Epoch and threshold were chosen on these images, which flatters all entries.")
    if len(pairs) > 1:
        said.append(
            f"{len(pairs)} pairs were compared. McNemar's p is corrected for that; the intervals"
            " are not, so that about one in twenty leaves out 0 where nothing differs."
        )
    if found["n_groups"] < found["n"]:
        said.append(
            "McNemar's test takes images of one group for independent, the intervals do not: where"
            " they disagree, believe the interval."
        )
    return said


def _title(key: str) -> str:
    return f"{NAMES[key]} (lower is better)" if key in LOWER_IS_BETTER else NAMES[key]


def _sd(spread: Mapping) -> str:
    return "–" if spread["sd"] is None else f"{spread['sd']:.3f}"


def _folds(folds: int) -> str:
    if folds == 1:
        return ""
    return f", in {folds} folds; a metric is computed in each fold, then averaged"
