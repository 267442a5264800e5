"""One training from its config to its run folder."""

import logging
import signal
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from detector.data.blended.training import blending_of
from detector.data.cache import load_pixels
from detector.data.datamodule import FaceData
from detector.data.epochs import BALANCES, strata_of
from detector.data.face_parts import training_bits
from detector.data.faceless import count_faceless
from detector.data.load import load_set
from detector.data.on_device import choose_place
from detector.data.preprocess import Preprocess
from detector.data.sources import FACE_PARTS
from detector.data.transforms import Augment
from detector.errors import Interrupted, UserError
from detector.evaluation.calibration import calibrate
from detector.garbage import only_new
from detector.models.build import build_network
from detector.models.parts import CLASSES
from detector.models.pretrained import find_pretrained, preprocessing_of
from detector.module import DetectorModule
from detector.predictor import Predictor, make_card, read_checkpoint
from detector.run import folder as run_folder
from detector.run.begin import begin_with, warn_of_the_beginning
from detector.run.card import write_card
from detector.run.checkpoints import Checkpoints, write_calibration
from detector.run.checks import (
    check_config,
    check_groups,
    check_resume,
    class_weights,
    fixed_settings,
)
from detector.run.compiled import choose_compiled, failed_to_compile, in_one_line
from detector.run.curves import gap_opened, plot_curves
from detector.run.ddp import share_of_loss
from detector.run.embedded import embed_as_set
from detector.run.finish import hyperparameters, predict_parts, write_results
from detector.run.hardware import choose_hardware
from detector.run.heap import handle_freed_memory
from detector.run.history import History
from detector.run.loop import callbacks, make_trainer, quiet
from detector.run.optim import parameter_groups
from detector.run.pictures import tensorboard
from detector.run.progress import bar, choose_progress
from detector.run.ranks import ALONE, Ranks
from detector.run.report import table, where_next

log = logging.getLogger(__name__)


class Session:
    """Everything of one run; the constructor checks it all before anything is trained.

    Args:
        cfg: As `conf/train.yaml` composes it.
        ranks: The processes that train together, each of which has a session.
        folder: Of the run, which the first of them has chosen.

    Raises:
        UserError: The config, the data or the checkpoint to go on from is unusable.
    """

    def __init__(self, cfg: DictConfig, ranks: Ranks = ALONE, folder: Path | None = None) -> None:
        check_config(cfg)
        self.ranks = ranks
        self.hardware = choose_hardware(cfg.trainer.accelerator, cfg.trainer.precision)
        # A checkpoint to go on from has all of it: what it began with may be gone.
        begun = None if cfg.ckpt_path else find_pretrained(cfg.model.net.name, cfg.model.pretrained)
        before = cfg.ckpt_path or cfg.init_from
        theirs = read_checkpoint(before)["detector"] if before else None
        settings = OmegaConf.to_container(cfg.model.preprocess, resolve=True)
        settings = preprocessing_of(cfg.model.net.name, settings, begun, theirs)
        # What a run leaves says numbers, whatever timm's next version has.
        cfg = self.cfg = OmegaConf.merge(cfg, {"model": {"preprocess": settings}})
        of_data = OmegaConf.to_container(cfg.data, resolve=True)
        self.preprocess = Preprocess.of_config(settings, of_data)
        network_args = OmegaConf.to_container(cfg.model.net, resolve=True, throw_on_missing=True)
        for key in {"size", "classes"} & set(network_args):
            raise UserError(f"model.net.{key}: the side is model.preprocess.size, classes are 2")
        torch.manual_seed(cfg.seed)
        part_names = FACE_PARTS if cfg.model.parts else ()
        classes = CLASSES + len(part_names)
        network = build_network(**network_args, size=self.preprocess.size, classes=classes)
        self.weights = begin_with(
            network, network_args, size=self.preprocess.size, classes=classes,
            found=begun,
            init_from=None if cfg.ckpt_path else cfg.init_from,
        )  # fmt: skip
        kind = cfg.progress if ranks.rank == 0 else "none"
        self.progress, progress_callbacks = choose_progress(kind)
        cache = Path(cfg.paths.cache).expanduser()
        self.faces = load_set(cfg.data, cache, bar(self.progress, f"preparing {cfg.data.name}"))
        index, bits = self.faces.index, None
        if cfg.model.parts:
            bits = training_bits(self.faces, fakes=cfg.data.fakes, masks=cfg.blended.masks)
        self.pixels = load_pixels(
            index, self.preprocess, cache_gb=cfg.data.cache_gb, cache_dir=cache
        )
        self.faceless = count_faceless(
            index, np.flatnonzero(self.faces.parts == "train"), self.preprocess, cache,
            bar(self.progress, "looking for faces"),
        )  # fmt: skip
        self.blending = blending_of(
            self.faces,
            self.preprocess,
            fakes=cfg.data.fakes,
            masks=cfg.blended.masks,
            seed=cfg.seed,
            cache_dir=cache,
            progress=bar(self.progress, "looking for faces"),
        )
        handle_freed_memory(self.hardware.accelerator, keep=cfg.trainer.keep_memory)
        steps = OmegaConf.to_container(cfg.augment.steps, resolve=True)
        augment = Augment(steps, self.preprocess.size, cfg.seed)
        self.data = FaceData(
            self.pixels,
            index.labels,
            index["group"],
            self.faces.parts,
            augment,
            batch_size=cfg.data.batch_size,
            num_workers=cfg.data.num_workers,
            seed=cfg.seed,
            start_method=cfg.data.start_method,
            pin_memory=self.hardware.accelerator == "gpu",
            blending=self.blending,
            strata=strata_of(cfg.data.balance, index),
            bits=bits,
            rank=ranks.rank,
            world=ranks.world,
            local_world=ranks.local_world,
            on_device=choose_place(cfg.augment.device, augment, self.hardware.accelerator),
            on_cpu=self.hardware.accelerator == "cpu",
        )
        trained = self.data.labels[self.data.rows["train"]]  # of blends too, where there are any
        weights = class_weights(cfg.class_weights, trained)
        card = make_card(network_args, self.preprocess, index.class_names, index.name, part_names)
        card["split"], card["settings"] = self.faces.digest(), fixed_settings(cfg)
        card["settings"]["augment.device"] = self.data.on_device is not None
        if not cfg.ckpt_path:
            warn_of_the_beginning(card, theirs, self.weights, cfg.model.freeze)
        self.module = DetectorModule(
            network,
            card,
            self.preprocess,
            seed=cfg.seed,
            optimizer=cfg.optimizer,
            schedule=cfg.schedule,
            loss=cfg.loss,
            freeze=cfg.model.freeze,
            class_weights=weights,
            channels_last=self.hardware.channels_last,
            part_weight=cfg.loss.parts if cfg.model.parts else None,
            share=share_of_loss(ranks, weights),
            stream=() if ranks.world == 1 else (ranks.rank,),
            compiled=choose_compiled(
                cfg.trainer.compile,
                network,
                self.hardware.accelerator,
                cfg.data.batch_size // ranks.world,
            ),
        )
        groups = parameter_groups(network, cfg.optimizer)
        self.resume, self.resume_step = self._resume(card, groups)
        self.runs = Path(cfg.paths.runs).expanduser().resolve()
        if self.resume:
            folder = self.resume.parents[1]
        self.folder = folder or run_folder.new_folder(
            self.runs, f"{cfg.data.name}-{cfg.model.name}"
        )
        self.history = History(self.folder)
        self.checkpoints = Checkpoints(
            self.folder / "checkpoints", monitor=cfg.select.monitor, mode=cfg.select.mode
        )
        watching = [*progress_callbacks, self.history]
        self.trainer = make_trainer(
            cfg,
            self.hardware,
            ranks,
            self.folder,
            callbacks(cfg, index, self.preprocess, self.folder, ranks, watching, bits),
            self.checkpoints,
            purge_step=self.resume_step + 1 if self.resume else None,  # epochs that are repeated
            bar=self.progress == "rich",
        )

    def _resume(self, card: dict, groups: list[dict]) -> tuple[Path | None, int]:
        if self.cfg.ckpt_path is None:
            return None, 0
        path = Path(self.cfg.ckpt_path).expanduser().resolve()  # not through runs/latest
        checkpoint = read_checkpoint(path)
        check_resume(checkpoint, card, path, self.cfg.trainer.max_epochs)
        check_groups(checkpoint, groups, path)
        # Lightning loads them too, but only after a frozen backbone has made its embeddings.
        self.module.load_state_dict(checkpoint["state_dict"])
        return path, checkpoint["global_step"]

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / "checkpoints" / "last.ckpt"

    def fit(self) -> None:
        """Train, or go on.

        Raises:
            Interrupted: Ctrl-C; last.ckpt is whole.
        """
        self.ranks.first(self._begin)
        self.ranks.in_turn(self._embed)
        handler = signal.getsignal(signal.SIGINT)
        with quiet(), only_new():
            try:
                self.trainer.fit(
                    self.module, datamodule=self.data, ckpt_path=self.resume, weights_only=True
                )
            except (KeyboardInterrupt, SystemExit) as stop:
                # Lightning turns Ctrl-C into an exit.
                if isinstance(stop, SystemExit) and not self.trainer.interrupted:
                    raise
                raise Interrupted(self.last) from None
            except RuntimeError as error:
                if not failed_to_compile(error):
                    raise
                raise UserError(f"{in_one_line(error)}: trainer.compile=false") from error
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise UserError(
                    f"data.batch_size={self.cfg.data.batch_size}: the batch norm of this network"
                    " needs batches of at least 2 images at this size"
                ) from error
            finally:
                signal.signal(signal.SIGINT, handler)  # Lightning leaves Ctrl-C switched off

    def _begin(self) -> None:
        """What the first process says and writes before the first epoch."""
        names = {"train": "train", "val": "val", "measured": "measured train"}
        sizes = ", ".join(f"{len(self.data.rows[key])} {name}" for key, name in names.items())
        for why in self.hardware.why:
            log.info(why)
        log.info("run folder: %s (%s images)", self.folder, sizes)
        if (balance := self.cfg.data.balance) != "none":
            n = len(self.data.train_dataloader().batch_sampler.sampler)
            log.info("an epoch has %d images, %s", n, BALANCES[balance])
        run_folder.point_latest(self.runs, self.folder)
        kinds = {name: getattr(self.hardware, name) for name in ("accelerator", "precision")}
        run_folder.write_inputs(self.folder, self.cfg, kinds, self.faces)

    def _embed(self) -> None:
        """Computes embeddings where the backbone never changes, and no picture is mixed."""
        embed_as_set(
            self.cfg, self.module, self.data, self.faces.index["sha256"], self.preprocess,
            self.hardware, bar(self.progress, "embedding"),
        )  # fmt: skip

    def finish(self) -> dict:
        """Measure the selected weights and write what remains of the run folder.

        Returns:
            What metrics.json holds, and `folder`.

        Raises:
            UserError: No epoch had a finite measure, so there is nothing to select.
        """
        best = self.checkpoints
        if best.best_epoch is None:
            raise UserError(
                f"{best.monitor} was not finite in any epoch: training diverged; lower optimizer.lr"
            )
        counts = {"n_train": len(self.data.rows["measured"]), "n_val": len(self.data.rows["val"])}
        device = {"gpu": "cuda"}.get(self.hardware.accelerator, self.hardware.accelerator)
        predictor = Predictor.load(best.folder / "best.ckpt", device)
        parts = ("val", "test") if self.cfg.evaluate_test else ("val",)
        margins, gate, unlike = predict_parts(
            predictor, self.pixels, self.faces, parts, alpha=self.cfg.gate.alpha, seed=self.cfg.seed
        )
        rows, of_val, *_ = margins["val"]
        calibration = calibrate(
            of_val,
            self.faces.index.labels[rows],
            **OmegaConf.to_container(self.cfg.calibration, resolve=True),
            trained_on=self.faces.index.name,
        )
        write_calibration(best.folder / "best.ckpt", calibration, gate)
        metrics = write_results(
            self.folder,
            self.faces,
            margins,
            predictor.score_name,
            calibration=calibration,
            gate=gate,
            unlike=unlike,
            replicates=self.cfg.metrics.replicates,
            seed=self.cfg.seed,
            training={
                "seed": self.cfg.seed,
                "epochs": len(self.history.rows),
                "best_epoch": best.best_epoch,
                "monitor": best.monitor,
                "gap_opened": gap_opened(self.history.rows, **counts),
                "parameters": sum(p.numel() for p in predictor.network.parameters()),
            }
            | ({} if self.blending is None else {"fakes": self.blending.counts})
            | ({} if self.faceless is None else {"crop": self.faceless}),
        )
        plot_curves(
            self.history.rows,
            self.folder / "curves.png",
            title=f"{self.cfg.model.name} on {self.cfg.data.name}",
            best_epoch=best.best_epoch,
            monitor=best.monitor,
            **counts,
        )
        write_card(self.folder, self.runs)
        for logger in self.trainer.loggers:
            logger.log_hyperparams(*hyperparameters(self.cfg, metrics))
        self._mean_heatmaps(predictor)  # after everything that must not be lost
        for logger in self.trainer.loggers:
            logger.finalize("success")
        images = Path(self.faces.index.root)
        log.info("\n%s\n\n%s", table(metrics), where_next(self.folder, self.runs, images))
        return metrics | {"folder": str(self.folder)}

    def _mean_heatmaps(self, predictor: Predictor) -> None:
        options = self.cfg.heatmaps
        if not (options.every and options.mean_images):
            return
        from detector.explain.average import write_average  # seconds, which not all need

        write_average(
            self.folder, predictor, self.pixels, self.faces,
            images=options.mean_images, method=options.method,
            epoch=self.checkpoints.best_epoch,
            replicates=self.cfg.metrics.replicates, seed=self.cfg.seed,
            writer=tensorboard(self.trainer), step=self.trainer.global_step,
        )  # fmt: skip
