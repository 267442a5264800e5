"""`detector.predict`, from the config to the files."""

import sys
from contextlib import ExitStack
from pathlib import Path

from omegaconf import DictConfig

from detector.errors import UserError
from detector.predicting.find import ONNX, find_weights, newest
from detector.predicting.inputs import STDIN, find_inputs, inputs_rule
from detector.predicting.prediction import Prediction
from detector.predicting.shown import in_words, progress, say
from detector.predicting.table import Table, check_output
from detector.predictor import Predictor
from detector.rules import check, either, flag, mapping, nothing, one_of, text, whole
from detector.run.bars import KINDS
from detector.run.heap import keep_freed_memory

RULES = {
    "inputs": inputs_rule,
    "ckpt": either(nothing, text),
    "output": either(nothing, text),
    "progress": one_of(*KINDS),
    "paths": mapping,
    "paths.runs": text,
    "predict": mapping,
    "predict.batch_size": whole(1),
    "predict.heatmap": flag,
    "predict.method": text,
    "predict.panels": either(nothing, text),
    "predict.device": one_of("auto", "cpu", "cuda", "mps"),
}


class Predicting:
    """One call of the command; the constructor checks all of it before any picture is read.

    Args:
        cfg: As `conf/predict.yaml` composes it.

    Raises:
        UserError: The config, an input, the output or the checkpoint is unusable.
    """

    def __init__(self, cfg: DictConfig) -> None:
        check(cfg, RULES)
        self.cfg, self.options = cfg, cfg.predict
        self.output = None if cfg.output is None else Path(cfg.output).expanduser()
        if self.output is not None:
            check_output(self.output)
        self.sources = find_inputs(cfg.inputs)
        runs = Path(cfg.paths.runs).expanduser().resolve()
        path = newest(runs) if cfg.ckpt is None else find_weights(cfg.ckpt)
        self.predictor = Predictor.load(path, _device(path, self.options.device))
        self.panels = None
        if self.options.heatmap:
            _ = self.predictor.network  # an exported file has none, and may be where torch is not
            from detector.predicting.panels import Panels

            self.panels = Panels(self.options, runs, path, self.predictor)

    def run(self) -> dict:
        """Answers all; returns what `detector.predict.predict` does."""
        move, stop = (None, lambda: None) if self.output is None else progress(self.cfg.progress)
        pictures = failed = 0
        with ExitStack() as stack:
            stack.callback(stop)
            table = None
            if self.output is not None:
                named = self.predictor.score_name, self.predictor.part_names
                table = stack.enter_context(
                    Table(self.output, *named, panels=self.panels is not None)
                )
            try:
                for answer in self._answers(move, table):
                    pictures += 1
                    failed += any(one.error for one in answer.faces or (answer,))
                    names = self.panels.add(answer) if self.panels else []
                    if table is None:
                        _print(answer, self.predictor.score_name)
                    else:
                        table.add(answer, names)
            except KeyboardInterrupt:
                _say_where(table, pictures)
                raise
            if not pictures:  # within the table's context, so that it replaces no earlier answers
                raise UserError(_none_came(self.cfg.inputs))
        if table is not None:
            say(f"{pictures} pictures, {failed} of them failed: {self.output}")
        if self.panels:
            say(f"heatmaps: {self.panels.folder}")
        return {
            "pictures": pictures,
            "failed": failed,
            "output": self.output and str(self.output),
            "panels": self.panels and str(self.panels.folder),
        }

    def _answers(self, move: object, table: Table | None) -> object:
        def moved(done: int, total: int | None) -> None:
            if table is not None:
                table.flush()
            if move:
                move(done, total)

        heatmap = self.options.method if self.panels else None
        return self.predictor.predict(
            self.sources, heatmap=heatmap, regions=bool(self.panels),
            batch_size=self.options.batch_size, progress=moved,
        )  # fmt: skip


def _device(path: Path, wanted: str) -> str:
    if path.suffix == ONNX:  # onnxruntime's own; asking torch would import it
        if wanted not in ("auto", "cpu"):
            raise UserError(f"predict.device={wanted}: an .onnx file is run on the CPU")
        return "cpu"
    from detector.run.hardware import choose_device

    device = choose_device(wanted, "predict.device")
    keep_freed_memory(device)
    return device


def _print(answer: Prediction, score_name: str) -> None:
    for line in in_words(answer, score_name):
        if answer.error:
            print(line, file=sys.stderr, flush=True)
        else:
            say(line)


def _none_came(inputs: object) -> str:
    if inputs in (STDIN, [STDIN]):
        return "no pictures came from the standard input: give one path a line"
    return f"inputs={inputs}: no picture is there: give a picture, or a folder with some"


def _say_where(table: Table | None, pictures: int) -> None:
    if table is not None and pictures:
        print(f"the answers to {pictures} pictures are in {table.partial}", file=sys.stderr)
