"""What a model card is made of, from files that may be missing, damaged or of another run."""

import csv
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from detector.evaluation.controls import CONTROLS

# What a file that is not as expected can raise where it is read or used.
NEEDED = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError,
          RecursionError, csv.Error, YAMLError, OmegaConfBaseException)  # fmt: skip
SAME = 0.01  # AUROC by which an evaluation may differ, computed on another machine
CLASSES = ("0", "fake"), ("1", "real")


@dataclass
class Facts:
    """The run and what was found around it.

    Args:
        folder: The run folder, absolute.
        runs: Folder of all runs, absolute.
        metrics: Of metrics.json; empty where it cannot be read.
        config: Of config.yaml.
        environment: Of environment.json.
        split: By part, how many images of label 0 (`fake`), 1 (`real`) and how many `groups`.
        groups_across: Groups that are in several parts.
        audit: The newest audit of the set; None without one.
        audit_path: Its file.
        no_audit: Why a file that is there was not used.
        other_split: A sentence where the audit saw another split; else empty.
        evaluations: By part, the newest evaluation of this checkpoint.
        evaluation_paths: Their files.
        elsewhere: Names of other sets on which this checkpoint was evaluated.
        remarks: Sentences on what was not used, by part, and `files`.
    """

    folder: Path
    runs: Path
    metrics: Mapping = field(default_factory=dict)
    config: Mapping = field(default_factory=dict)
    environment: Mapping = field(default_factory=dict)
    split: dict[str, dict[str, int]] = field(default_factory=dict)
    groups_across: int = 0
    audit: Mapping | None = None
    audit_path: Path | None = None
    no_audit: str = ""
    other_split: str = ""
    evaluations: dict[str, Mapping] = field(default_factory=dict)
    evaluation_paths: dict[str, Path] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """`<data>-<model>` and the time, as the folder has them."""
        return f"{safe(self.folder.parent.name)}, {safe(self.folder.name)}"

    @property
    def data(self) -> str:
        """Name of the set, safe to show."""
        return safe(self.config["data"]["name"])

    @property
    def sets(self) -> list[str]:
        """Names of the sets that were trained on, safe to show, where they are several."""
        data = self.config["data"]
        if data.get("source") != "joint":
            return []
        tested = self.metrics.get("test", {}).get("sets", {})
        out = [name for name, of in tested.items() if of["left_out"]]
        names = tested or self.metrics.get("val", {}).get("sets", {})
        return [safe(name) for name in names if name not in out]

    @property
    def fake(self) -> str:
        """Name of class 0, safe to show."""
        return safe((self.metrics.get("class_names") or ["fake", "real"])[0])

    @property
    def real(self) -> str:
        """Name of class 1, safe to show."""
        return safe((self.metrics.get("class_names") or ["fake", "real"])[1])

    @property
    def blends(self) -> str:
        """What stood for fakes in training, where it was not the set's own alone; else empty."""
        kind = self.config["data"].get("fakes", "set")
        if kind == "set":
            return ""
        beside = "blends beside" if kind == "mixed" else "blends, and on none of"
        said = (
            f"**Trained on {beside} the {self.fake} images of train**: on self-blended images"
            " (Shiohara and Yamasaki, CVPR 2022), made anew in each epoch by blending a real image"
            " of the train part with a changed copy of itself. The curves of train are of such"
            " images too; validation and test are the set's own."
        )
        if known := self.metrics.get("training", {}).get("fakes"):
            said += (
                f" An epoch has {int(known['blended'])} blends, with {safe(known['masks'])} masks."
            )
            if without := int(known["reals_without_a_face"]):
                said += f" In {without} of {int(known['reals'])} real images no face was found."
        return said

    def command(self, program: str, *more: str) -> str:
        """The command line that evaluates this checkpoint, or audits its set."""
        words = ["python", "-m", f"detector.{program}"]
        if program == "evaluate":
            words.append(f"ckpt={self.folder / 'checkpoints' / 'best.ckpt'}")
        else:
            data = self.config["data"]
            words.append(f"data={data['name']}")
            if data.get("source") == "folder":
                words = [*words[:3], "data=folder", f"data.root={data['root']}"]
            if data.get("source") == "joint":
                words.append(f"data.sets=[{','.join(map(json.dumps, data['sets']))}]")
        if self.runs.name != "runs":
            words.append(f"paths.runs={self.runs}")
        return shlex.join([*words, *more]).replace("'data=...'", "data=...")

    def control(self, part: str) -> tuple[Mapping[str, Mapping], Mapping[str, Mapping], str]:
        """Classifiers that see no face, on the images of a part.

        Returns:
            By name their `accuracy` and `auroc`; by name the lead of the network over them;
            and where that stands, a sentence. All empty without any.
        """
        against = self.evaluations.get(part, {}).get("against_controls")
        if against:
            leads = {name: found["lead"] for name, found in against["controls"].items()}
            path = code(str(self.evaluation_paths[part]))
            return against["controls"], leads, f"Controls, fitted on the training images ({path}):"
        if self.audit and not self.other_split and self.audit["controls"]["part"] == part:
            controls = {name: self.audit["controls"][name] for name in CONTROLS}
            where = "Controls, from the audit, fitted on the training images; the lead has no"
            evaluate = code(self.command("evaluate", f"evaluate.part={part}"))
            return controls, {}, f"{where} interval before {evaluate}."
        return {}, {}, ""

    def says(self, part: str) -> str:
        """The sentence of an evaluation on the network beside its controls; or nothing."""
        return (self.evaluations.get(part, {}).get("against_controls") or {}).get("says", "")


def gather(folder: Path, runs: Path) -> Facts:
    """Reads all of it; what cannot be used is said in `remarks`."""
    facts = Facts(folder, runs)
    trouble = facts.remarks.setdefault("files", [])
    for name, read in {
        "metrics.json": lambda path: setattr(facts, "metrics", _json(path)),
        "config.yaml": lambda path: setattr(facts, "config", _yaml(path)),
        "environment.json": lambda path: setattr(facts, "environment", _json(path)),
        "split.csv": lambda path: _read_split(facts, path),
    }.items():
        try:
            read(folder / name)
        except NEEDED as error:
            trouble.append(f"{name} cannot be used ({safe(type(error).__name__)}).")
    for find in (_find_audit, _find_evaluations):
        try:
            find(facts)
        except NEEDED as error:
            trouble.append(f"Audits or evaluations were not found ({safe(type(error).__name__)}).")
    return facts


def _json(path: Path) -> Mapping:
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _yaml(path: Path) -> Mapping:
    found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _read_split(facts: Facts, path: Path) -> None:
    counts: dict[str, dict[str, int]] = {}
    groups: dict[str, set[str]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            part = counts.setdefault(line["split"], {"fake": 0, "real": 0})
            part[dict(CLASSES)[line["label"]]] += 1
            groups.setdefault(line["split"], set()).add(line["group"])
    sizes = {part: len(names) for part, names in groups.items()}
    facts.split = {part: count | {"groups": sizes[part]} for part, count in counts.items()}
    facts.groups_across = sum(sizes.values()) - len(set().union(*groups.values()))


def _newest(runs: Path, pattern: str) -> list[Path]:
    """Files by the time in the name of their folder: copying does not change it."""
    return sorted(runs.glob(pattern), key=lambda path: (path.parent.name, str(path)), reverse=True)


def _find_audit(facts: Facts) -> None:
    name = str(facts.config["data"]["name"])
    # Not as a pattern: the name may hold its characters.
    for path in _newest(facts.runs / "audit" / name, "*/audit.json"):
        try:
            found = _json(path)
            if found["data"] != name:
                raise ValueError("of another set")
            for measured in found["properties"].values():
                _ = measured["auroc"]["low"], measured["says"], measured["title"]
            _ = found["pairs"]["count"], found["controls"]["part"], found["n"]
            sizes = {part: int(n) for part, n in found["parts"].items()}
        except NEEDED as error:
            facts.no_audit += f"{code(str(path))} cannot be used ({safe(error)}). "
            continue
        facts.audit, facts.audit_path = found, path
        ours = {part: n["fake"] + n["real"] for part, n in facts.split.items()}
        if ours != sizes:
            told = [", ".join(f"{n} {safe(p)}" for p, n in of.items()) for of in (sizes, ours)]
            facts.other_split = (
                f"The audit saw another split of the set, or another copy of it: {told[0]}; this"
                f" run {told[1]}. Its controls are not used here."
            )
        return


def _find_evaluations(facts: Facts) -> None:
    checkpoint = (facts.folder / "checkpoints" / "best.ckpt").resolve()
    name = facts.config["data"]["name"]
    for path in _newest(facts.runs / "evaluate", "*/*/metrics.json"):
        try:
            found = _json(path)
            if Path(found["checkpoint"]).resolve() != checkpoint:
                continue
            if found["set"] != name or found["trained_on"] != name:
                facts.elsewhere.add(str(found["set"]))
                continue
            part, measured = found["part"], found["metrics"]
            if part not in ("val", "test") or part in facts.evaluations:
                continue
            own = facts.metrics[part]
            if measured["threshold"] != own["threshold"]:
                continue  # evaluate.threshold was given: another question
            far = abs((measured["auroc"]["value"] or 0) - (own["auroc"]["value"] or 0)) > SAME
            if measured["n"] != own["n"] or far:
                _remark(facts, part, f"{code(str(path))} is of other images or other weights.")
                continue
            if against := found.get("against_controls"):
                for control in against["controls"].values():
                    _ = control["accuracy"]["value"], control["auroc"]["low"], control["lead"]
                _ = against["says"].strip()
        except NEEDED:
            # Of this checkpoint or not: a file that cannot be read does not say.
            _remark(facts, "files", f"{code(str(path))} cannot be used.")
            continue
        facts.evaluations[part], facts.evaluation_paths[part] = found, path


def _remark(facts: Facts, about: str, text: str) -> None:
    facts.remarks.setdefault(about, []).append(text)


def safe(text: object) -> str:
    """Text that stays text in Markdown, in one line."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text))
    line = re.sub(r"([\\`*<>#])", r"\\\1", line)
    return line.replace("](", "]\\(").replace("|", "&#124;")  # which no table cell escapes again


def is_known(measure: object) -> bool:
    """Whether it is a measure of metrics.json that has a value."""
    return isinstance(measure, Mapping) and isinstance(measure.get("value"), float)


def code(text: str) -> str:
    """A span of code, whatever backticks the text holds."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    runs = [len(run) for run in re.findall("`+", line)]
    ticks = "`" * (max(runs, default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"
