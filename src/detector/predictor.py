"""The one way from the bytes of a picture to a probability.

Evaluation, command line, page and export parity all go through it. A checkpoint is
read as data only (`weights_only`): a file from a stranger cannot run code.
"""

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.evaluation.calibration import Calibration
from detector.models.build import build_network
from detector.models.parts import CLASSES

CARD_FORMAT = 1


def make_card(
    network: dict,
    preprocess: Preprocess,
    class_names: Sequence[str],
    trained_on: str,
    part_names: Sequence[str] = (),
) -> dict:
    """What a prediction needs beside the weights, as plain data.

    Args:
        network: `name` and options, as `build_network` takes them.
        preprocess: From bytes to pixels.
        class_names: Names of labels 0 and 1.
        trained_on: Name of the data set.
        part_names: Of the logits after the two of the classes, where there is a part head.
    """
    card = {
        "format": CARD_FORMAT,
        "network": dict(network),
        "preprocess": preprocess.to_dict(),
        "class_names": list(class_names),
        "trained_on": trained_on,
    }
    return card | ({"parts": list(part_names)} if part_names else {})


def read_checkpoint(path: Path | str) -> dict:
    """Load a checkpoint of this project without running anything in it.

    Args:
        path: A file that `detector.train` wrote.

    Returns:
        The checkpoint, with `state_dict` and the card under `detector`.

    Raises:
        UserError: There is no such file, or it is not one of ours.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"no checkpoint {path}: train one with python -m detector.train")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        card = checkpoint["detector"]
        if card["format"] != CARD_FORMAT:
            raise UserError(
                f"{path} has format {card['format']}, this version of detector reads"
                f" {CARD_FORMAT}: train again, or install the version that wrote it"
            )
        missing = {"network", "preprocess", "class_names", "trained_on"} - set(card)
        if missing or not isinstance(checkpoint["state_dict"], dict):
            raise KeyError(", ".join(sorted(missing)))
    except UserError:
        raise
    except (
        RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError,
        ValueError, OSError, IndexError,
    ) as error:  # fmt: skip
        kind = type(error).__name__
        raise UserError(
            f"{path} is not a whole checkpoint of detector ({kind}): give a best.ckpt or"
            " last.ckpt that python -m detector.train wrote"
        ) from error
    return checkpoint


class Predictor:
    """A trained network with the preprocessing that it was trained with.

    Weights are in float32 and in eval mode, so the answer to a picture does not
    depend on how the network was trained, only, in the last digits, on the machine.
    Scores are calibrated as the checkpoint says; one that says nothing about that, such as
    a last.ckpt, has temperature 1 and threshold .5.

    Args:
        checkpoint: As `read_checkpoint` gives it.
        source: Named in error messages.
        device: Where to compute, such as `cpu`, `cuda` or `mps`.

    Raises:
        UserError: The weights do not fit the network that the checkpoint names, or its
            calibration is damaged.
    """

    def __init__(self, checkpoint: dict, source: str, device: str = "cpu") -> None:
        card = checkpoint["detector"]
        self.preprocess = Preprocess.from_dict(card["preprocess"])
        self.class_names = tuple(str(name) for name in card["class_names"])
        self.trained_on = str(card["trained_on"])
        parts = card.get("parts", [])
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise UserError(f"{source}: parts are no list of names; the file was altered")
        self.part_names = tuple(parts)
        try:
            known = card.get("calibration")
            self.calibration = Calibration() if known is None else Calibration.from_dict(known)
        except UserError as error:
            raise UserError(f"{source}: {error}; the file was altered") from error
        self.device = torch.device(device)
        self._built_as = dict(card["network"])
        network = self._build()
        try:
            network.load_state_dict(checkpoint["state_dict"])
        except (RuntimeError, AttributeError) as error:
            raise UserError(
                f"{source}: the weights do not fit {card['network']['name']} at"
                f" {self.preprocess.size} px; the file was altered"
            ) from error
        # The layout that convolutions prefer, but for MPS: half the time on a CPU.
        self._layout = torch.contiguous_format if self.device.type == "mps" else torch.channels_last
        self.network = network.float().eval().to(self.device, memory_format=self._layout)

    @classmethod
    def load(cls, path: Path | str, device: str = "cpu") -> "Predictor":
        """Open a `best.ckpt` or `last.ckpt`.

        Raises:
            UserError: The file is missing, foreign or damaged.
        """
        return cls(read_checkpoint(path), str(path), device)

    def _build(self) -> torch.nn.Module:
        return build_network(
            **self._built_as, size=self.preprocess.size, classes=CLASSES + len(self.part_names)
        )

    def untrained(self, seed: int) -> torch.nn.Module:
        """The same network with the random weights that a training would begin with.

        Args:
            seed: Of the weights; the caller's random numbers are not disturbed.

        Returns:
            In eval mode, on the predictor's device.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._build()
        return network.float().eval().to(self.device, memory_format=self._layout)

    @property
    def score_name(self) -> str:
        """Name of the score: the probability of class 0, for faces `p_fake`."""
        return f"p_{self.class_names[0]}"

    @property
    def threshold(self) -> float:
        """p_fake from which a picture is called fake, in (0, 1)."""
        return self.calibration.threshold

    @property
    def unsure(self) -> tuple[float, float]:
        """Scores strictly between these two get no verdict; the threshold twice for none."""
        return self.calibration.unsure

    def verdict(self, p_fake: float) -> str:
        """Name of the class that a score stands for, or `unsure`."""
        names = dict(zip(("fake", "real"), self.class_names, strict=False))
        return names.get(verdict := self.calibration.verdict(p_fake), verdict)

    def __call__(self, data: bytes) -> float:
        """Probability that one picture is fake.

        Args:
            data: A whole image file.

        Returns:
            p_fake, 0..1.

        Raises:
            DecodeError: The bytes are no readable picture.
        """
        return float(self.scores([self.preprocess(data)])[0])

    def scores(
        self, images: Iterable[np.ndarray], batch_size: int = 32, *, bf16: bool = False
    ) -> np.ndarray:
        """Probabilities of pictures that went through `preprocess`.

        Args:
            images: uint8 (S, S, 3) each; a generator is read batch by batch.
            batch_size: Images that are in memory at once.
            bf16: Compute in bfloat16, as most networks are trained here: faster on some machines,
                and three digits of the log odds. Verdicts are always float32's.

        Returns:
            float64 (N), p_fake, 0..1.
        """
        return self.calibration.scores(self.margins(images, batch_size, bf16=bf16))

    def margins(
        self, images: Iterable[np.ndarray], batch_size: int = 32, *, bf16: bool = False
    ) -> np.ndarray:
        """What the network says of pictures before any calibration.

        Args:
            images: As for `scores`.
            batch_size: Images that are in memory at once.
            bf16: As for `scores`.

        Returns:
            float64 (N), log odds of fake.
        """
        return self.answers(images, batch_size, bf16=bf16)[0]

    def parts(
        self, images: Iterable[np.ndarray], batch_size: int = 32, *, bf16: bool = False
    ) -> np.ndarray:
        """Probabilities that parts of faces were edited, which no calibration changes.

        Args:
            images: As for `scores`.
            batch_size: Images that are in memory at once.
            bf16: As for `scores`.

        Returns:
            float64 (N, P), 0..1, in the order of `part_names`; left and right are the viewer's.

        Raises:
            UserError: The network has no part head.
        """
        if not self.part_names:
            raise UserError(
                "this network does not say which parts were edited: train one with model.parts=true"
            )
        return self.answers(images, batch_size, bf16=bf16)[1]

    def answers(
        self, images: Iterable[np.ndarray], batch_size: int = 32, *, bf16: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """`margins`, (N), and `parts`, (N, P), where P is 0 without a part head, in one pass."""
        results, batch = [(np.zeros(0), np.zeros((0, len(self.part_names))))], []
        for image in images:
            batch.append(image)
            if len(batch) == batch_size:
                results.append(self._answers(batch, bf16))
                batch = []
        if batch:
            results.append(self._answers(batch, bf16))
        margins, parts = (np.concatenate(each) for each in zip(*results, strict=True))
        return margins, parts

    def _answers(self, batch: list[np.ndarray], bf16: bool) -> tuple[np.ndarray, np.ndarray]:
        images = torch.from_numpy(self.preprocess.normalize(np.stack(batch)))
        images = images.to(self.device, memory_format=self._layout)
        faster = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)
        with torch.inference_mode(), faster:
            # On the CPU in double precision: MPS has none.
            logits = self.network(images).cpu().double()
            margins = logits[:, 0] - logits[:, 1:CLASSES].logsumexp(1)
            return margins.numpy(), logits[:, CLASSES:].sigmoid().numpy()
