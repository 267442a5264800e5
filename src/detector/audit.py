"""What could a network cheat with? `python -m detector.audit data=ciplab`, before training."""

import logging
import sys
import time
from pathlib import Path

from omegaconf import DictConfig

from detector import cli

log = logging.getLogger(__name__)


def audit(cfg: DictConfig) -> dict:
    """Measure what tells the classes of a set apart without a face, and leave a folder.

    Args:
        cfg: As `conf/audit.yaml` composes it; see `detector.cli.compose`.

    Returns:
        What audit.json holds, and `folder`.

    Raises:
        UserError: The config or the data is unusable; says what to do.
    """
    import numpy as np  # heavy, as are all of these: --help should be quick

    from detector.data.load import load_set, part_sizes
    from detector.data.split import deal
    from detector.evaluation.audit.blind import header_rule, read_controls, suspect_labels
    from detector.evaluation.audit.observe import observe
    from detector.evaluation.audit.pairs import report_pairs
    from detector.evaluation.audit.picture import draw
    from detector.evaluation.audit.properties import measure_properties
    from detector.evaluation.audit.report import markdown, summary
    from detector.evaluation.audit.words import certain, sentence
    from detector.rules import check
    from detector.run import folder as run_folder
    from detector.run.progress import bar, choose_progress

    check(cfg, _rules())
    started = time.monotonic(), time.process_time()
    kind, _ = choose_progress(cfg.progress)
    cache = Path(cfg.paths.cache).expanduser()
    faces = load_set(cfg.data, cache, bar(kind, f"preparing {cfg.data.name}"))
    for setting in ("normalize", "crop"):
        if cfg.data.get(setting):
            log.warning("data.%s is not applied: the audit measures files as they are", setting)
    index, parts = faces.index, faces.parts
    labels, groups = index.labels, np.array(index["group"])
    folder = run_folder.new_folder(
        Path(cfg.paths.runs).expanduser().resolve(), cfg.data.name, kind="audit"
    )
    observed = observe(
        index, max_pixels=cfg.data.max_pixels, most=cfg.audit.controls_images, seed=cfg.seed,
        progress=bar(kind, f"reading {cfg.data.name}"),
    )  # fmt: skip
    some = observed.rows
    folds = deal(groups, labels, [1] * cfg.audit.folds, cfg.seed)
    draws = {"replicates": cfg.audit.replicates, "seed": cfg.seed}
    properties = measure_properties(observed, labels, groups, folds, **draws)
    pairs = report_pairs(index, parts)
    # Sets with own splits are not searched for near copies.
    pairs["searched"] = bool(cfg.data.near_copies) and not any(index["split"])
    for key, row in properties.items():
        row["says"] = sentence(key, row, index.class_names)
        row["certain"] = certain(key, row, index.class_names)
        for by_label in ("by_class", "only"):
            row[by_label] = {index.class_names[label]: of for label, of in row[by_label].items()}
    controls = read_controls(
        observed.features, labels[some], groups[some], parts[some], part=cfg.audit.part, **draws
    )
    controls["images"] = len(some)
    found = {
        "data": cfg.data.name,
        "class_names": list(index.class_names),
        "n": len(index),
        "n_fake": int((labels == 0).sum()),
        "n_real": int((labels == 1).sum()),
        "n_groups": len(set(groups)),
        "parts": part_sizes(parts),
        "properties": properties,
        "controls": controls,
        "header_rule": header_rule(index, parts),
        "pairs": pairs,
        "corrupt": [{"name": name, "why": why} for name, why in index.corrupt],
        "suspects": suspect_labels(
            index, observed.features, pairs["list"], folds, rows=some, most=cfg.audit.suspects
        ),
        "fail": {"above": cfg.audit.fail_above, "by": []},
    }
    found["fail"]["by"] = _above(found, cfg.audit.fail_above)
    found["seconds"] = {
        "wall": round(time.monotonic() - started[0], 1),
        "processor": round(time.process_time() - started[1], 1),
    }
    run_folder.write_config(folder, cfg)
    run_folder.write_provenance(folder, run_folder.provenance({}))
    columns = observed.categories | observed.numbers
    run_folder.write_csv(
        folder / "properties.csv",
        ("path", "label", *columns),
        zip(index["name"], index["label"], *(c.tolist() for c in columns.values()), strict=True),
    )
    draw(found, folder / "audit.png")
    (folder / "audit.md").write_text(markdown(found), encoding="utf-8")
    run_folder.write_json(folder / "audit.json", found)  # last: where it is, the rest is
    log.info("\n%s\n\nall of it: %s (audit.md, audit.json, audit.png)", summary(found), folder)
    return found | {"folder": str(folder)}


def _rules() -> dict:
    from detector.rules import either, mapping, nothing, number, one_of, text, whole

    return {
        "audit": mapping,
        "data": mapping,
        "paths": mapping,
        "seed": whole(0, 2**32 - 1),
        "progress": text,
        "audit.part": one_of("val", "test"),
        "audit.folds": whole(2, 100),
        "audit.replicates": whole(100, 10**6),
        "audit.suspects": whole(0),
        "audit.controls_images": whole(1000),
        "audit.fail_above": either(nothing, number(0.5, 1)),
        "paths.runs": text,
        "paths.cache": text,
    }


def _above(found: dict, limit: float | None) -> list[str]:
    """What is above the limit even at the low end of its interval.

    Not the estimate itself: of twenty properties that tell nothing, some pass .6 by chance in
    a small set, and a check in CI that fails by chance is soon switched off.
    """
    if limit is None:
        return []
    controls = {k: v["auroc"] for k, v in found["controls"].items() if isinstance(v, dict)}
    measures = {p["title"]: p["auroc"] for p in found["properties"].values()} | {
        f"the {name} control": measure for name, measure in controls.items()
    }
    return [
        f"{name} ({m['value']:.3f}, at least {m['low']:.3f})"
        for name, m in measures.items()
        if m["low"] is not None and m["low"] > limit
    ]


def _main(cfg: DictConfig) -> None:
    found = audit(cfg)
    if found["fail"]["by"]:
        from detector.evaluation.audit.report import verdict

        print(verdict(found), file=sys.stderr)
        raise SystemExit(1)


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("audit", _main)


if __name__ == "__main__":
    main()
