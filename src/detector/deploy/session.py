"""One export from its config to a file that was checked, or to none."""

import logging
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from detector.deploy import parity
from detector.deploy.formats import FORMATS, RANGES, Format
from detector.deploy.latency import latencies
from detector.deploy.network import Portable
from detector.deploy.pictures import Sample, find_pictures, training_of
from detector.deploy.report import markdown
from detector.errors import UserError
from detector.evaluation.trained import open_trained
from detector.predicting.card import Card
from detector.predicting.find import ONNX, find_weights, newest
from detector.predicting.onnx_backend import usable_cores
from detector.rules import check, either, flag, mapping, nothing, number, one_of, text, texts, whole
from detector.run.folder import write_json
from detector.run.progress import bar, choose_progress

log = logging.getLogger(__name__)

SAFETENSORS = "safetensors"
LIMITS = {name: number(0, 1) for name in ("p_fake", "flips", "unsure", "auroc_drop")}
RULES = {
    "data": mapping,
    "paths": mapping,
    "paths.runs": text,
    "paths.cache": text,
    "ckpt": either(nothing, text),
    "format": one_of(*FORMATS, SAFETENSORS),
    "int8": flag,
    "output": either(nothing, text),
    "licence": either(nothing, text),
    "images": either(nothing, text),
    "seed": whole(0),
    "quantize": mapping,
    "quantize.images": whole(1),
    "quantize.ranges": one_of(*RANGES),
    "quantize.float": texts,
    "parity": mapping,
    "parity.images": whole(1),
    "parity.test_images": whole(1),
    "parity.replicates": whole(1),
    "parity.repeats": whole(1),
    **{f"parity.{kind}": mapping for kind in ("float", "int8")},
    **{f"parity.{kind}.{key}": rule for kind in ("float", "int8") for key, rule in LIMITS.items()},
}
REJECTED = ".rejected"


class Export:
    """Everything that is written once; the constructor checks it all.

    Args:
        cfg: As `conf/export.yaml` composes it.

    Raises:
        UserError: The config, the images or the checkpoint is unusable, or a package is missing.
    """

    def __init__(self, cfg: DictConfig) -> None:
        check(cfg, RULES)
        if unknown := set(cfg.quantize.float) - {"first", "last"}:
            raise UserError(f"quantize.float={sorted(unknown)}: choose of first and last")
        self.cfg = cfg
        self.progress, _ = choose_progress(cfg.progress)
        self.cache = Path(cfg.paths.cache).expanduser()
        runs = Path(cfg.paths.runs).expanduser().resolve()
        self.weights = newest(runs) if cfg.ckpt is None else find_weights(cfg.ckpt)
        if self.weights.suffix == ONNX:
            raise UserError(f"{self.weights} is an exported file: give what it was made from")
        if cfg.format == SAFETENSORS:
            if cfg.int8:
                raise UserError("int8=true: safetensors hold the float weights; choose onnx")
            if cfg.licence is None:
                raise UserError(
                    "say what others may do with the weights, such as licence=Apache-2.0"
                )
            return
        self.format: Format = FORMATS[cfg.format]()  # looks whether its packages are there
        self.trained = open_trained(str(self.weights), runs, "cpu")
        self.predictor = self.trained.predictor
        self.card = _plain(self.weights)
        self.file = self._output(self.format.suffix)
        moving = bar(self.progress, "preparing the set")
        self.pictures = find_pictures(cfg, self.trained, self.cache, moving)
        self.training = training_of(self.pictures) if cfg.int8 else None

    def _output(self, suffix: str) -> Path:
        kind = "-int8" if self.cfg.int8 else ""
        if self.cfg.output is None:
            file = self._beside() / f"{self.weights.stem}{kind}{suffix}"
        else:
            file = Path(self.cfg.output).expanduser()
            if file.suffix != suffix:
                raise UserError(f"output={file}: give a file whose name ends in {suffix}")
        if file.is_dir():
            raise UserError(f"output={file} is a folder: give the name of a file")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {file} ({error.strerror}): choose output=") from error
        return file

    def _beside(self) -> Path:
        """`exports` in the run folder, or where the weights are."""
        here = self.weights.parent
        return here.parent / "exports" if here.name == "checkpoints" else here

    def run(self) -> dict:
        """Writes and checks the file; returns the report, and `file`.

        Raises:
            UserError: The file's answers are off; it was renamed.
        """
        if self.cfg.format == SAFETENSORS:
            return self._release()
        try:
            kept, beside, report = self._make()
        except OSError as error:
            raise UserError(
                f"cannot write {self.file} ({error.strerror or error}): choose output="
            ) from error
        log.info("%s", markdown(report))
        if report["off"]:
            raise UserError(
                f"the exported file is off: {'; '.join(report['off'])}. It is now {kept};"
                f" {beside.name} beside it has the figures"
            )
        log.info("%s (%s beside it has these figures and the card)", kept, beside.name)
        return report | {"file": str(kept)}

    def _make(self) -> tuple[Path, Path, dict]:
        # On the disk where the file goes, so that it takes its place in one step, once checked.
        with tempfile.TemporaryDirectory(prefix=".export-", dir=self.file.parent) as folder:
            made = Path(folder) / self.file.name
            self._write(made)
            report = self._check(made)
            kept = self.file
            if report["off"]:
                kept = self.file.with_name(self.file.name + REJECTED)
            os.replace(made, kept)
        beside = kept.with_name(kept.name + ".json")
        write_json(beside, {"file": kept.name, **report, "detector": self.card})
        return kept, beside, report

    def _release(self) -> dict:
        from detector.predicting.release import write_release

        folder = self._beside() / "release" if self.cfg.output is None else self.cfg.output
        write_release(self.weights, Path(folder).expanduser(), self.cfg.licence)
        log.info("%s", folder)
        return {"file": str(folder)}

    def _write(self, made: Path) -> None:
        network = Portable(self.predictor)
        if not self.cfg.int8:
            self.format.write(network, self.card, made)
            return
        asked = self.cfg.quantize
        self.format.write_int8(
            network,
            self.card,
            made,
            self._batches(self.training),
            ranges=asked.ranges,
            stay_float=list(asked.float),
        )

    def _batches(self, sample: Sample):
        """float32 (N, 3, S, S) each, normalized."""
        for batch in sample.batches(self.cfg.data.batch_size):
            yield np.ascontiguousarray(self.predictor.preprocess.normalize(batch))

    def _check(self, made: Path) -> dict:
        cfg, asked = self.cfg, self.cfg.parity
        card = Card.read(self.card, str(self.weights))
        backends = [self.predictor.backend, self.format.open(made, card)]
        check, ranked = self.pictures.check, self.pictures.ranked
        said = parity.ask(backends, card, check, cfg.data.batch_size)
        auroc = None
        if ranked is not None:
            of_both = said
            if ranked is not check:
                of_both = parity.ask(backends, card, ranked, cfg.data.batch_size)
            auroc = parity.ranking(*of_both, ranked, replicates=asked.replicates, seed=cfg.seed)
            auroc |= {"on": ranked.name, "n": len(ranked)}
            auroc |= {"flips": parity.differences(*of_both)["flips"]}
        image = parity.one_image(check, card.preprocess)
        times = latencies(backends, image, asked.repeats)
        weights = self.predictor.network.state_dict().values()
        limits = OmegaConf.to_container(asked["int8" if cfg.int8 else "float"], resolve=True)
        report = {
            "format": cfg.format,
            "int8": cfg.int8,
            "network": self.card["network"]["name"],
            "check": {"on": check.name, **parity.differences(*said)},
            "auroc": auroc,
            "bytes": {"before": sum(w.nbytes for w in weights), "after": made.stat().st_size},
            "latency_ms": {"before": times[0], "after": times[1], "threads": usable_cores()},
            "calibrated_on": self.training and {"on": self.training.name, "n": len(self.training)},
            "limits": limits,
            "made_with": self._versions(),
        }
        return report | {"off": parity.broken(report, limits)}

    def _versions(self) -> dict[str, str]:
        found = {name: version(name) for name in ("torch", *self.format.packages)}
        return found | {"machine": platform.machine(), "python": platform.python_version()}


def _plain(weights: Path) -> dict:
    """The card as the file has it."""
    if weights.suffix == ".safetensors":
        from detector.predicting.release import read_release

        return dict(read_release(weights)["detector"])
    from detector.predicting.checkpoint import read_checkpoint

    return dict(read_checkpoint(weights)["detector"])
