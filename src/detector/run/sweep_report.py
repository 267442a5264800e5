"""What the runs of a sweep give together: averages over folds, and the spread over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from detector.errors import UserError
from detector.evaluation.answers import VARIED, Answers, read_answers
from detector.evaluation.averaged import compare_entries
from detector.evaluation.report import NAMES, shown, table
from detector.evaluation.run_files import differing, read_json
from detector.evaluation.same_images import align, name_entries
from detector.run.folder import write_json

REPLICATES, SEED = 1000, 0  # of the bootstrap
SHOWN = ("auroc", "accuracy", "balanced_accuracy")


def summarize_sweep(folder: Path, command: str) -> dict:
    """Writes sweep.json and sweep.md, and prints the latter.

    Args:
        folder: Of the sweep.
        command: That made it, and goes on with it.

    Returns:
        What sweep.json holds: `command`; `jobs`, each `overrides` and `folder` (of its run);
        `part`, the part that is summed up, test unless a run left it alone; and `variants`, by
        name what `compare_entries` gives for an entry, with `runs`. Runs that differ in more
        than seed and fold are variants of their own.

    Raises:
        UserError: A run is damaged or gone.
    """
    jobs = []
    for file in sorted((folder / "jobs").glob("*.json")):
        job = read_json(file)
        try:
            run = (file.parent / job["folder"]).resolve()
            jobs.append({"overrides": list(job["overrides"]), "folder": str(run)})
        except (KeyError, TypeError):
            raise UserError(f"{file} is damaged: delete it to train that run anew") from None
    jobs.sort(key=lambda job: job["overrides"])
    found = {"command": command, "jobs": jobs, "part": None, "variants": {}}
    write_json(folder / "sweep.json", found)
    (folder / "sweep.md").unlink(missing_ok=True)  # of an earlier end
    found |= _summed_up([Path(job["folder"]) for job in jobs])
    write_json(folder / "sweep.json", found)
    text = _markdown(found)
    (folder / "sweep.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{folder}")
    return found


def _summed_up(runs: Sequence[Path]) -> dict:
    every = [read_json(run / "metrics.json") for run in runs]
    part = "test" if all("test" in metrics for metrics in every) else "val"
    variants: list[list[Answers]] = []
    for run in runs:
        one = read_answers(str(run), part)[2][0]
        same = next((v for v in variants if _alike(v[0], one)), None)
        if same is None:
            variants.append([one])
        else:
            same.append(one)
    names = name_entries([(v[0].folder.name, v) for v in variants])
    summed = {}
    for name, answers in zip(names, variants, strict=True):
        answers.sort(key=lambda one: (str(one.split), one.seed))
        common = align({name: answers})
        measured = compare_entries(
            common.networks, common.labels, common.groups, replicates=REPLICATES, seed=SEED
        )["entries"][name]
        of_runs = [_of_run(one, part) for one in answers]
        summed[name] = {"n": len(common.labels), "runs": of_runs, **measured}
    return {"part": part, "variants": summed}


def _alike(a: Answers, b: Answers) -> bool:
    # Elsewhere may be where a set was moved; one's own folder is another set.
    roots = {str(one.settings.get("data.root")) for one in (a, b)}
    other = len(roots) > 1 and a.settings.get("data.source") == "folder"
    return not other and not set(differing([a.settings, b.settings])) - set(VARIED)


def _of_run(one: Answers, part: str) -> dict:
    metrics = read_json(one.folder / "metrics.json")
    return {
        "folder": str(one.folder),
        "fold": one.split[1],
        "split_seed": one.split[0],
        "seed": one.seed,
        "best_epoch": metrics.get("training", {}).get("best_epoch"),
        "n": metrics[part]["n"],
        "majority": max(metrics[part]["n_fake"], metrics[part]["n_real"]) / metrics[part]["n"],
        **{key: metrics[part][key] for key in SHOWN},
        "sets": metrics[part].get("sets", {}),
    }


def _markdown(found: Mapping) -> str:
    """sweep.md: a table of runs and their average for each variant."""
    part = {"val": "validation", "test": "test"}[found["part"]]
    lines = [f"# A sweep: {part} part", "", f"    {found['command']}", ""]
    for name, variant in found["variants"].items():
        runs, metrics = variant["runs"], variant["metrics"]
        folds = {(run["split_seed"], run["fold"]) for run in runs}
        rows = [
            [
                "–" if run["fold"] is None else str(run["fold"]),
                str(run["seed"]),
                str(run["n"]),
                f"{run['majority']:.3f}",
                *(shown(run[key]) for key in SHOWN),
            ]
            for run in runs
        ]
        average = [f"**{shown(metrics[key])}**" for key in SHOWN]
        majority = sum(run["majority"] for run in runs) / len(runs)
        rows.append(["**mean**", "", str(variant["n"]), f"{majority:.3f}", *average])
        header = ["fold", "seed", "images", "majority's accuracy", *(NAMES[key] for key in SHOWN)]
        lines += [f"## {name}", "", *table(header, rows), ""]
        seeds = len({run["seed"] for run in runs})
        lines += [
            f"A metric is computed in each run ({_number(len(folds), 'fold')},"
            f" {_number(seeds, 'seed')}), then averaged. Brackets are 95 %: of means from a"
            " bootstrap by group over all images, of accuracy Wilson's, with groups counted.",
            _spread(variant["spread"], seeds),
            "",
        ]
    return "\n".join([*lines, *_left_out(found)])


def _left_out(found: Mapping) -> list[str]:
    """What runs say of the set that each of them was not trained on, beside the others."""
    runs = [run for variant in found["variants"].values() for run in variant["runs"]]
    names = list(dict.fromkeys(name for run in runs for name in run["sets"]))
    rows = []
    for run in runs:
        cells = [shown(run["sets"].get(name, {}).get("auroc")) for name in names]
        out = [name for name, of in run["sets"].items() if of["left_out"]]
        marked = [f"**{c}**" if n in out else c for n, c in zip(names, cells, strict=True)]
        rows.append([out[0] if out else "–", str(run["seed"]), *marked])
    if not names:
        return []
    lines = ["## AUROC by set", "", *table(["left out", "seed", *names], rows), ""]
    return [
        *lines,
        "A set's own fakes against its own reals; bold where the set had no part in training, and"
        " is tested whole. Brackets are 95 %, of the images, not of the training. The tables above"
        " are over the images of all sets together.",
        "",
    ]


def _number(n: int, what: str) -> str:
    return f"{n} {what}" + "s" * (n != 1)


def _spread(spread: Mapping, seeds: int) -> str:
    if seeds < 2:
        return "One seed: how much another training would change is not known."
    said = ", ".join(
        f"{NAMES[key]} {spread[key]['sd']:.3f}" for key in SHOWN if spread[key]["sd"] is not None
    )
    return f"Standard deviation over {seeds} seeds: {said}."
