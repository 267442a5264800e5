"""card.md of a training run: what it is, how well it does, what its scores may owe to.

After Mitchell et al., Model Cards for Model Reporting (FAT* 2019), from the files of the run
and of the audits and evaluations around it. A score stands beside that of a classifier that
sees no face, or beside the command that measures one.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from detector.evaluation.controls import CONTROLS
from detector.evaluation.holds import in_words
from detector.evaluation.report import NAMES, set_table, shown, table
from detector.replacing import replacing
from detector.run.card_audit import audit_lines
from detector.run.card_facts import NEEDED, Facts, code, gather, is_known, safe
from detector.run.card_input import PARTS, crop_lines, gate_lines
from detector.run.fine_tuning import in_words as in_words_of_training
from detector.run.part_report import PART_HEAD, card_lines

log = logging.getLogger(__name__)

CONTROLLED = ("accuracy", "auroc")
FAKES = {
    "ciplab": "parts of faces replaced by hand, in an image editor",
    "hardfake": "whole faces by StyleGAN2",
    "140k": "whole faces by StyleGAN",
    "blended": "real faces blended with changed copies of themselves, by this program",
    "synthetic": "drawn faces with edited parts, by this program: no photographs",
}


def write_card(folder: Path, runs: Path) -> Path:
    """Writes card.md of a training run, whatever the state of the files around it.

    Inputs that are missing, damaged or of another run are named in the card; where the card
    itself cannot be written, a warning is logged. It is written anew as a whole each time.

    Args:
        folder: The run folder, after training.
        runs: Folder of all runs, where audits and evaluations are looked for.

    Returns:
        The card.
    """
    folder, runs = Path(folder).resolve(), Path(runs).resolve()
    path = folder / "card.md"
    facts = gather(folder, runs)
    sections = {
        "What it is": _network,
        "What it is for": _use,
        "Training data": _data,
        "Results": _results,
        "Do its scores mean what they say?": _calibration,
        "Pictures unlike its own": gate_lines,
        "What else tells the classes apart": audit_lines,
        "Limits": _limits,
        "How it was made": _origin,
    }
    lines = [f"# {facts.title}", ""]
    for title, write in sections.items():
        lines += [f"## {title}", "", *_safely(write, facts), ""]
    try:
        with replacing(path) as temporary:
            temporary.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("no model card: %s cannot be written (%s)", path, error.strerror or error)
    return path


def _safely(write: Callable[[Facts], list[str]], facts: Facts) -> list[str]:
    try:
        return write(facts) or ["Nothing is known."]
    except NEEDED as error:
        # Somebody edited a file, or it is of another version: the rest of the card stands.
        return [f"Cannot be told: a file of the run is not as expected ({_kind(error)})."]


def _kind(error: Exception) -> str:
    return safe(f"{type(error).__name__}: {error}")


def _network(facts: Facts) -> list[str]:
    config = facts.config
    model, pre = config["model"], config["model"]["preprocess"]
    training = facts.metrics.get("training", {})
    normalize = config["data"].get("normalize")
    numbers = training.get("parameters")
    lines = [
        f"- network: {safe(model['name'])}"
        + ("" if numbers is None else f", {int(numbers):,} parameters"),
        f"- input: RGB, {pre['size']} x {pre['size']} pixels; {safe(pre['fit'])} to a square,"
        f" {safe(pre['interpolation'])}; mean {pre['mean']}, standard deviation {pre['std']}",
        "- files: as they are; no normalizer, so that traces of compression reach the network"
        if not normalize
        else "- files: each is first made a JPEG of one kind, "
        + ", ".join(f"{safe(k)} {safe(v)}" for k, v in normalize.items()),
        *crop_lines(facts),
        f"- output: the score that a picture is {facts.fake}, between 0 and 1"
        + (PART_HEAD if model.get("parts") else ""),
        f"- begun with: {_begun(config)}",
    ]
    if "best_epoch" in training:
        lines.append(
            f"- weights: of epoch {training['best_epoch']} of {training['epochs']}, chosen by"
            f" {safe(training['monitor'])}; augmentation {safe(config['augment']['name'])};"
            f" seed {config['seed']}"
        )
    if options := in_words_of_training(config):
        lines.append(f"- training: {safe('; '.join(options))}")
    return lines


def _begun(config: Mapping) -> str:
    """Paths lose their folders: a card is for others."""
    pretrained, checkpoint = config["model"].get("pretrained"), config.get("init_from")
    if checkpoint:
        return f"all weights but the head's of {safe(Path(checkpoint).name)}, a run of this project"
    if pretrained is True:
        return f"the published weights of {safe(config['model']['net']['name'])}"
    return f"the weights in {safe(Path(pretrained).name)}" if pretrained else "random weights"


def _use(facts: Facts) -> list[str]:
    source = facts.config["data"].get("source")
    kind = FAKES.get(source)
    lines = [
        f"For research on how {facts.fake} pictures differ from {facts.real} ones, on pictures"
        f" like those of {facts.data}.",
        "",
        (
            f"- It has seen {len(sets)} sets, {', '.join(sets)}."
            if (sets := facts.sets)
            else f"- It has seen one set, {facts.data}" + (f": {kind}." if kind else ".")
        )
        + " Of pictures made in another way, of faces framed or compressed in another way, and"
        " of people unlike those in this set, nothing is known.",
        "- Not for accusing a person, nor for any decision about one: a score is no proof, and"
        f" with few {facts.fake} pictures among many most alarms are false.",
        "- It does not say what was changed in a picture, or by whom."
        if not facts.config["model"].get("parts")
        else "- What it says of parts is no proof either; it does not say who changed them.",
    ]
    if source == "synthetic":
        lines.append("- Drawn faces are an exercise: it does not recognize forged photographs.")
    return lines


def _data(facts: Facts) -> list[str]:
    split = facts.config["data"]["split"]
    rows = []
    for part in dict.fromkeys([*("train", "val", "test"), *facts.split]):
        if part in facts.split:
            counted = facts.split[part]
            rows.append([safe(part), *(str(counted[key]) for key in ("fake", "real", "groups"))])
    lines = table(["part", f"{facts.fake} images", f"{facts.real} images", "groups"], rows)
    across = facts.groups_across
    if facts.blends:
        lines += ["", facts.blends]
    lines += [
        "",
        "A group is one photograph with its copies and edits."
        + (
            " No group is in two parts."
            if across == 0
            else f" **{across} groups are in two parts or more: what is measured on validation and"
            " test is partly memory.**"
        ),
        "",
        "Split: the set's own, where it has one; else "
        + (
            f"fold {split['fold']} of {split['folds']}"
            if split.get("folds")
            else "shares of "
            + ", ".join(f"{value:g} {safe(part)}" for part, value in split["fractions"].items())
        )
        + f", at random with seed {split['seed']}, "
        + ("groups kept together." if split["by_group"] else "**groups not kept together**."),
        "",
        "Licence of the pictures: unknown, none is given with the set.",
    ]
    if page := facts.config["data"].get("page"):
        lines[-1] += f" Ask at {safe(page)}"
    return lines


def _results(facts: Facts) -> list[str]:
    if not facts.metrics:
        command = code(facts.command("evaluate"))
        return [f"metrics.json cannot be used; {command} measures the weights again."]
    lines = ["Brackets are 95 % intervals, by group."]
    for part, name in PARTS.items():
        if part not in facts.metrics:
            lines += ["", f"### {name}", "", "Not measured (`evaluate_test=false`)."]
            continue
        lines += ["", f"### {name}", "", *_safely(lambda f, part=part: _part(f, part), facts)]
    for kind, found in facts.evaluations.items():
        if found.get("usual_table"):
            usual = found["usual_table"]
            lines += [
                "",
                f"Of {safe(kind)}, the {usual['n']} images alone that have the quantization table"
                f" usual for {facts.real} ones: accuracy {shown(usual['accuracy'])}, AUROC"
                f" {shown(usual['auroc'])}. There a header tells less.",
            ]
    return lines


def _part(facts: Facts, part: str) -> list[str]:
    measured = facts.metrics[part]
    control, leads, where = facts.control(part)
    command = code(facts.command("evaluate", f"evaluate.part={part}"))
    lines = [
        f"{measured['n']} images: {measured['n_fake']} {facts.fake}, {measured['n_real']}"
        f" {facts.real}, in {measured['n_groups']} groups.",
        "",
    ]
    rows = []
    for key in CONTROLLED:
        known = {name: c[key] for name, c in control.items() if is_known(c.get(key))}
        if known:
            name = max(known, key=lambda name: known[name]["value"])
            lead = leads.get(name, {}).get(key)
            cells = [f"{shown(known[name])} {safe(name)}", shown(lead)]
        else:
            cells = [f"no control yet: {command}", "–"]
        rows.append([NAMES[key], shown(measured[key]), *cells])
    lines += table(["measure", "network", "best control", "lead over it"], rows)
    if where:
        lines += ["", where]
        lines += [f"- {safe(n)}: {CONTROLS[n]}" for n in control if n in CONTROLS]
    if says := facts.says(part):
        lines += ["", f"**{safe(says)}**"]
    if facts.remarks.get(part):
        lines += ["", *(f"- {remark}" for remark in facts.remarks[part])]
    others = [key for key in NAMES if key not in CONTROLLED and key in measured]
    lines += ["", "Of these no control is measured:", ""]
    lines += table(["measure", "network"], [[NAMES[k], shown(measured[k])] for k in others])
    if sets := measured.get("sets"):
        lines += ["", "Each set alone, at the common threshold; no control is measured by set:", ""]
        lines += set_table({safe(k): v for k, v in sets.items()}, facts.fake, facts.real)
    kinds = _kinds(facts, part)
    if kinds:
        theirs = "the {} images of their sets" if measured.get("sets") else "all {} images"
        lines += ["", f"{facts.fake} images by kind, each against {theirs.format(facts.real)}; no"
                  " control is measured by kind:", ""]  # fmt: skip
        header = ["column", "kind", f"{facts.fake} images", "AUROC", f"{facts.fake} found"]
        lines += table(header, kinds)
    return lines + card_lines(measured, facts.fake)


def _kinds(facts: Facts, part: str) -> list[list[str]]:
    found = {k[3:]: v for k, v in facts.metrics[part].items() if k.startswith("by_")}
    # What an evaluation adds: columns that training does not look at.
    found |= {k: v for k, v in facts.evaluations.get(part, {}).get("slices", {}).items() if v}
    return [
        [safe(name), safe(kind), str(of["n_fake"]), shown(of["auroc"]), shown(of["recall"])]
        for name, kinds in found.items()
        for kind, of in kinds.items()
    ]


def _calibration(facts: Facts) -> list[str]:
    fitted = facts.metrics.get("calibration")
    if not fitted:
        return ["Not calibrated: scores are those of the last layer, the threshold is .5."]
    low, high = fitted["unsure"]
    band = "no scores" if low == high else f"scores between {low:.3g} and {high:.3g}"
    lines = [
        f"Temperature {fitted['temperature']:.3g} and threshold {fitted['threshold']:.3g}, fitted"
        f" on {fitted['n']} validation images and stored with the weights. Unsure: {band}.",
        "",
    ]
    for part in PARTS:
        if found := facts.metrics.get(part, {}).get("calibration"):
            own = " (fitted there, so this says little)" if part == "val" else ""
            says = found.get("says") or in_words(found, f"the {part} part", facts.fake)
            lines.append(f"- {part}{own}: {safe(says)}")
            if given := found.get("answered"):
                lines[-1] += (
                    f" A verdict on {shown(given['coverage'])} of the images, wrong for"
                    f" {shown(given['risk'])} of these."
                )
    return [*lines, "", "No control is calibrated beside it."]


def _limits(facts: Facts) -> list[str]:
    training = facts.metrics.get("training", {})
    lines = [
        "- One training with one seed: intervals are of the images, not of the training.",
        "- The epoch, the temperature and the threshold were chosen on validation: its figures"
        " are too good.",
    ]
    if facts.elsewhere:
        names = ", ".join(map(safe, sorted(facts.elsewhere)))
        lines.append(
            f"- Nothing above was measured on another set; it was evaluated on {names} too, in"
            " runs/evaluate."
        )
    else:
        lines.append(
            f"- It was measured on no other set: {code(facts.command('evaluate', 'data=...'))}."
        )
    gap = training.get("gap_opened")
    if isinstance(gap, int) and not isinstance(gap, bool):
        says = "It overfits"
        if facts.config["data"].get("fakes", "set") != "set":
            says = "It overfits, or its blends are easier than the fakes of the set"
        lines.append(f"- {says}: from epoch {gap} on, training images do better than others.")
    n = [m["n"] for p in PARTS if (m := facts.metrics.get(p))]
    if n and max(n) < 400:
        lines.append(f"- At most {max(n)} images measured: small differences do not show.")
    return lines + [f"- {remark}" for remark in facts.remarks.get("files", [])]


def _origin(facts: Facts) -> list[str]:
    known = facts.environment
    git, machine = known.get("git") or {}, {}
    for part in ("machine", "hardware"):
        machine |= known.get(part) or {}
    packages = known.get("packages") or {}
    changed = " with uncommitted changes" if git.get("uncommitted_changes") else ""
    lines = [
        f"- command: {code(str(known.get('command') or 'unknown'))}",
        f"- started: {safe(known.get('started') or 'unknown')}",
        f"- revision: {safe(git.get('revision') or 'unknown')}{changed}",
    ]
    told = [f"{safe(k)} {safe(v)}" for k, v in machine.items()]
    lines.append(f"- machine: {', '.join(told) or 'unknown'}")
    lines.append(f"- Python: {safe(known.get('python') or 'unknown')}")
    kept = [f"{safe(k)} {safe(v)}" for k, v in packages.items() if v]
    lines.append(f"- packages: {', '.join(kept) or 'unknown'}")
    return lines
