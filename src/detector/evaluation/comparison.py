"""One comparison from its config to its report."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from detector.errors import UserError
from detector.evaluation.answers import Answers, read_answers
from detector.evaluation.averaged import compare_entries
from detector.evaluation.compare_figure import plot_comparison
from detector.evaluation.compare_report import markdown, sentence
from detector.evaluation.same_images import align, name_entries
from detector.evaluation.scores import FAKE
from detector.rules import check, either, mapping, nothing, one_of, text, texts, whole
from detector.run import folder as run_folder

log = logging.getLogger(__name__)

RULES = {
    "runs": (texts[0], "give two or more run folders, as [runs/train/a/..,runs/train/b/..]"),
    "seed": whole(0, 2**32 - 1),
    "compare": mapping,
    "compare.part": one_of("test", "val"),
    "compare.names": either(nothing, texts),
    "compare.replicates": whole(100, 10**6),
    "paths": mapping,
    "paths.runs": text,
}


class Comparison:
    """Everything that is compared once; the constructor checks it all.

    Args:
        cfg: As `conf/compare.yaml` composes it.

    Raises:
        UserError: The config or one of the folders is unusable, or they speak of different
            images.
    """

    def __init__(self, cfg: DictConfig) -> None:
        check(cfg, RULES)
        self.cfg, self.options = cfg, cfg.compare
        if len(cfg.runs) < 2:
            raise UserError(f"runs={list(cfg.runs)}: {RULES['runs'][1]}")
        read = [read_answers(named, self.options.part) for named in cfg.runs]
        folders = [str(folder) for folder, _, _ in read]
        for at, folder in enumerate(folders):
            if folder in folders[:at]:
                raise UserError(f"runs names {folder} twice: give each once")
        self.kinds = [kind for _, kind, _ in read]
        self.folders = folders
        answers = [answers for _, _, answers in read]
        self.answers = dict(zip(self._names(read), answers, strict=True))
        self.common = align(self.answers)

    def _names(self, read: list[tuple[Path, str, list[Answers]]]) -> list[str]:
        given = self.options.names
        if given is None:
            return name_entries([(folder.name, answers) for folder, _, answers in read])
        if len(given) != len(read) or len(set(given)) < len(given) or "" in given:
            raise UserError(
                f"compare.names={list(given)}: give {len(read)} different names, one per run"
            )
        return list(given)

    def run(self) -> dict:
        """Compares and writes the report; returns what compare.json holds, and `folder`."""
        labels, groups = self.common.labels, self.common.groups
        measured = compare_entries(
            self.common.networks, labels, groups,
            replicates=self.options.replicates, seed=self.cfg.seed,
        )  # fmt: skip
        spread = {name: entry["spread"] for name, entry in measured["entries"].items()}
        first = next(iter(self.answers.values()))
        found = {
            "set": first[0].set,
            "part": first[0].part,
            "class_names": list(first[0].class_names),
            "n": len(labels),
            "n_fake": int((labels == FAKE).sum()),
            "n_real": int((labels != FAKE).sum()),
            "n_groups": len(set(groups.tolist())),
            "folds": len({one.split for one in first}),
            "replicates": self.options.replicates,
            "seed": self.cfg.seed,
            "entries": {},
            "pairs": [
                {"says": sentence(pair, spread), "different": decided(pair), **pair}
                for pair in measured["pairs"]
            ],
        }
        for (name, answers), kind, folder in zip(
            self.answers.items(), self.kinds, self.folders, strict=True
        ):
            found["entries"][name] = {
                "folder": folder,
                "kind": kind,
                "networks": len(answers),
                "thresholds": [one.threshold for one in answers],
                "seen_in_training": max(one.seen for one in answers),
                **measured["entries"][name],
            }
        folder = run_folder.new_folder(
            Path(self.cfg.paths.runs).expanduser().resolve(), "", kind="compare"
        )
        self._write(folder, found)
        return found | {"folder": str(folder)}

    def _write(self, folder: Path, found: dict) -> None:
        run_folder.write_config(folder, self.cfg)
        run_folder.write_provenance(folder, run_folder.provenance({}))
        plot_comparison(found, folder / "compare.png")
        text = markdown(found)
        (folder / "compare.md").write_text(text, encoding="utf-8")
        run_folder.write_json(folder / "compare.json", found)  # last: where it is, the rest is
        log.info("%s\n%s", text, folder)


def decided(pair: dict) -> dict[str, bool | None]:
    """By metric, whether the interval of the difference leaves out 0; None where undefined."""
    return {
        name: None if d["value"] is None else not d["low"] <= 0 <= d["high"]
        for name, d in pair["difference"].items()
    }
