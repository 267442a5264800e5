"""The LightningModule: loss, measured curves, optimizer. The network is an argument."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from detector.data.preprocess import Preprocess
from detector.models.cnn import SmallCNN
from detector.models.depthwise import QuickDepthwise, has_depthwise
from detector.models.halves import in_two
from detector.models.head import Backbone
from detector.models.parts import CLASSES, LossOfParts, with_bits
from detector.models.scaling import scaled
from detector.run.mixup import draw, mixed_loss
from detector.run.optim import make_optimizer

FAKE = 0  # the positive class of every metric
MIXUP_STREAM = 1  # beside a step's other random numbers, which must not move by it


class DetectorModule(L.LightningModule):
    """Trains a network on labelled faces and measures it as it goes.

    Each validation measures two loaders in eval mode, without augmentation:
    validation and the train subset. It logs `train/*` and `val/*` (loss, accuracy,
    auroc) and the `gap/*` between them; `fit/loss` is the loss that the optimizer
    saw, with dropout, augmentation, mixup, smoothed labels and class weights. `lr` is the
    highest of the learning rates.

    Args:
        network: Float images (N, 3, S, S) to logits (N, 2), or (N, 2 + P) with a part head.
        card: What a prediction needs beside the weights; goes into every checkpoint.
        preprocess: Gives mean and std.
        seed: Of the run; each step restarts the random numbers from it.
        optimizer: `name`, and what `parameter_groups` takes.
        schedule: `name` (`none` or `cosine`), `warmup_epochs`.
        loss: `label_smoothing`, the share of a label that is dealt to both classes, and `mixup`,
            alpha of its distribution; 0 for without.
        freeze: `none`, `backbone`, or in how many epochs from the first the backbone is frozen.
        class_weights: Weight of each class in the loss, or None.
        channels_last: Memory format of images and weights.
        part_weight: Of the loss of a part head, whose batches then have bits; None without one.
        share: Where several processes train together, as `run.ddp.ShareOfLoss`; None for one.
        stream: More words for the seed of each step, which set this process's dropout and mixup
            apart from those of others.
        compiled: Answers in place of the network in training steps; None for the network.

    Raises:
        UserError: No head is known for a network of which all else is to be frozen.
    """

    def __init__(
        self,
        network: nn.Module,
        card: Mapping,
        preprocess: Preprocess,
        *,
        seed: int,
        optimizer: Mapping,
        schedule: Mapping,
        loss: Mapping,
        freeze: str | int,
        class_weights: tuple[float, float] | None,
        channels_last: bool,
        part_weight: float | None = None,
        share: Callable | None = None,
        stream: tuple[int, ...] = (),
        compiled: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.share, self.stream, self.compiled = share, stream, compiled
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self.depthwise = has_depthwise(network)
        self.begins_with_convolution = isinstance(network, SmallCNN)
        self.card, self.seed = dict(card), seed
        self.optimizer, self.schedule = dict(optimizer), dict(schedule)
        for name, values in (("mean", preprocess.mean), ("std", preprocess.std)):
            values = torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        weights = None if class_weights is None else torch.tensor(class_weights).float()
        smoothing = float(loss["label_smoothing"])
        self.loss = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)
        if part_weight is not None:
            self.loss = LossOfParts(self.loss, part_weight)
        self.mixup = float(loss["mixup"])
        self.backbone = None if freeze == "none" else Backbone(self.network)
        self.frozen_epochs = {"none": 0, "backbone": math.inf}.get(freeze, freeze)
        if self.frozen_epochs == math.inf:  # so that no optimizer need know of these
            self.backbone.require_grad(False)
        self.measures = nn.ModuleDict(
            {
                stage: MetricCollection(
                    # Scores are probabilities: torchmetrics would squash a batch of logits
                    # only if it happens to leave 0..1.
                    {"accuracy": BinaryAccuracy(), "auroc": BinaryAUROC()}
                )
                for stage in ("val", "measured")
            }
        )
        self.losses = nn.ModuleDict({stage: MeanMetric() for stage in ("val", "measured")})
        # Rows, labels, p_fake, and with a part head the probabilities (N, P) of its parts.
        self.validated: list[tuple[Tensor, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 2 + P) of uint8 images (N, 3, S, S), or of embeddings, float32 (N, D)."""
        if images.ndim == 2:
            return in_two(self.network)[1](images)
        network = self.compiled if self.training and self.compiled else self.network
        with QuickDepthwise() if self.depthwise else nullcontext():
            return network(self.scaled(images))

    def scaled(self, images: Tensor) -> Tensor:
        """What the network is fed, of uint8 images (N, 3, S, S).

        float32, or what autocast would make of that before the first layer of a small network.
        """
        rounds = self.begins_with_convolution and torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if rounds else torch.float32
        return scaled(images, self.mean, self.std, self.memory_format, dtype)

    def on_train_batch_start(self, batch: tuple, batch_idx: int) -> None:
        # Dropout then follows from seed, epoch and batch alone: a step repeated after a kill
        # draws the same mask. (Once an epoch is not enough: starting a loader draws too.)
        state = np.random.SeedSequence([self.seed, self.current_epoch, batch_idx, *self.stream])
        # On the CPU without the other devices' generators: for each that was not used yet PyTorch
        # notes down the whole stack of calls, a millisecond.
        cpu = self.device.type == "cpu"
        seed = torch.default_generator.manual_seed if cpu else torch.manual_seed
        seed(int(state.generate_state(1, np.uint64)[0] >> 1))
        # Each time: a training that goes on within an epoch is told of no epoch's start.
        if self.backbone is not None and self.current_epoch < self.frozen_epochs:
            self.backbone.freeze()
        elif self.backbone is not None:
            self.backbone.thaw()

    def training_step(self, batch: tuple, batch_idx: int) -> Tensor:
        images, labels, _, *bits = batch
        targets = with_bits(labels, *bits) if bits else labels
        if self.mixup:
            seed = [self.seed, self.current_epoch, batch_idx, MIXUP_STREAM, *self.stream]
            mixed = draw(self.mixup, len(labels), seed)
            loss = mixed_loss(self, self.loss, images, targets, *mixed)
        else:
            loss = self.loss(self(images).float(), targets)
        n, several = len(labels), self.share is not None
        if several:
            loss, n = self.share(self.trainer, loss, labels, batch_idx)
        self.log(
            "fit/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=n,
            sync_dist=several,
        )  # fmt: skip
        return loss

    def on_validation_epoch_start(self) -> None:
        self.validated.clear()

    def validation_step(self, batch: tuple, batch_idx: int, dataloader_idx: int = 0) -> None:
        images, labels, rows, *bits = batch
        logits, of_parts = self(images).float().tensor_split([CLASSES], 1)
        stage = "measured" if dataloader_idx else "val"
        p_fake = logits.softmax(1)[:, FAKE]
        self.measures[stage].update(p_fake, (labels == FAKE).int())
        # Cross entropy alone: a curve should be the same quantity for every setting.
        self.losses[stage].update(nn.functional.cross_entropy(logits, labels), len(labels))
        if stage == "val":
            answers = (p_fake, of_parts.sigmoid()) if bits else (p_fake,)
            self.validated.append(tuple(each.cpu() for each in (rows, labels, *answers)))

    def on_validation_epoch_end(self) -> None:
        values = {}
        for stage, name in (("measured", "train"), ("val", "val")):
            computed = self.measures[stage].compute() | {"loss": self.losses[stage].compute()}
            values |= {f"{name}/{key}": value for key, value in computed.items()}
            self.measures[stage].reset()
            self.losses[stage].reset()
        values["gap/loss"] = values["val/loss"] - values["train/loss"]
        values["gap/accuracy"] = values["train/accuracy"] - values["val/accuracy"]
        values["lr"] = max(group["lr"] for group in self.trainer.optimizers[0].param_groups)
        shown = ("train/accuracy", "val/accuracy", "val/loss")
        for key, value in values.items():
            self.log(key, value, prog_bar=key in shown)

    def configure_optimizers(self) -> dict:
        steps = self.trainer.estimated_stepping_batches
        return make_optimizer(
            self.network,
            self.optimizer,
            self.schedule,
            steps,
            self.trainer.max_epochs,
            fused=self.trainer.gradient_clip_val is None,
        )

    def state_dict(self, *args, **kwargs) -> dict:
        """The network's own weights: loss weights and metrics are not part of it."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping, strict: bool = True, assign: bool = False):
        """Counterpart of `state_dict`."""
        return self.network.load_state_dict(state_dict, strict=strict, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["detector"] = self.card
