"""The one way from a picture to a probability.

Evaluation, command line, page and export parity all go through it. Importing it does not import
torch: that comes with a network that needs it, and a file that onnxruntime runs does not.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import UserError
from detector.evaluation.calibration import probabilities
from detector.predicting.answer import answer_all
from detector.predicting.backend import Backend
from detector.predicting.card import CARD_FORMAT, CLASSES, Card, make_card
from detector.predicting.checkpoint import read_checkpoint
from detector.predicting.find import ONNX, RELEASE, find_weights
from detector.predicting.look import look
from detector.predicting.pixels import is_path, is_picture, name_of
from detector.predicting.prediction import Prediction
from detector.predicting.sources import Sources, is_folder
from detector.predicting.stream import stream

if TYPE_CHECKING:
    import torch

    from detector.explain.cam import Explainer

__all__ = ["CARD_FORMAT", "Prediction", "Predictor", "make_card", "read_checkpoint"]


class Predictor:
    """A trained network with the preprocessing that it was trained with.

    Weights are in float32 and in eval mode, so the answer to a picture does not
    depend on how the network was trained, only, in the last digits, on the machine.
    Scores are calibrated as the checkpoint says; one that says nothing about that, such as
    a last.ckpt, has temperature 1 and threshold .5.

    Args:
        checkpoint: As `read_checkpoint` gives it; with a backend, `detector` alone is needed.
        source: Named in error messages.
        device: Where to compute, such as `cpu`, `cuda` or `mps`.
        backend: What computes; None opens the checkpoint's weights with torch.

    Raises:
        UserError: The weights do not fit the network that the checkpoint names, or its
            card is damaged, or what cuts faces out is needed and not installed.
    """

    def __init__(
        self, checkpoint: dict, source: str, device: str = "cpu", backend: Backend | None = None
    ) -> None:
        card = Card.read(checkpoint["detector"], source)
        self.source, self.card = source, card
        self.preprocess, self.class_names = card.preprocess, card.class_names
        self.trained_on, self.part_names = card.trained_on, card.part_names
        self.calibration, self.gate = card.calibration, card.gate
        if self.preprocess.crop is not None:
            self.preprocess.crop.check_installed(source)
        if backend is None:
            from detector.predicting.torch_backend import TorchBackend

            backend = TorchBackend(card, checkpoint["state_dict"], source, device)
        self.backend = backend
        self._explainers: dict[str, Explainer] = {}

    @classmethod
    def load(cls, what: Path | str, device: str = "cpu") -> "Predictor":
        """Open a trained network.

        Args:
            what: A run folder, a `best.ckpt` or `last.ckpt`, released weights (their folder, or
                the .safetensors in it) or an exported .onnx file.
            device: Where to compute; an .onnx file is run on the CPU.

        Raises:
            UserError: The file is missing, foreign or damaged, or needs a package that is not
                installed.
        """
        path = find_weights(what)
        if path.suffix == RELEASE:
            from detector.predicting.release import read_release

            return cls(read_release(path), str(path), device)
        if path.suffix == ONNX:
            from detector.predicting.onnx_backend import open_onnx

            backend, card = open_onnx(path)
            return cls({"detector": card}, str(path), backend=backend)
        return cls(read_checkpoint(path), str(path), device)

    @property
    def network(self) -> "torch.nn.Module":
        """The network itself, for what needs its layers; it may be replaced.

        Raises:
            UserError: What computes is no torch network.
        """
        return self._torch().network

    @network.setter
    def network(self, network: "torch.nn.Module") -> None:
        self._torch().network = network

    @property
    def device(self) -> "torch.device":
        """Where a torch network is."""
        return self._torch().device

    def untrained(self, seed: int) -> "torch.nn.Module":
        """The same network with the random weights that a training would begin with.

        Args:
            seed: Of the weights; the caller's random numbers are not disturbed.

        Returns:
            In eval mode, on the predictor's device.
        """
        return self._torch().untrained(seed)

    def _torch(self) -> Backend:
        if self.backend.name != "torch":
            raise UserError(
                f"{self.source} is an exported file, whose layers cannot be looked into: heatmaps"
                " need the checkpoint or the released weights that it was made from"
            )
        return self.backend

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

    def predict(
        self,
        source: object,
        *,
        heatmap: str | None = None,
        regions: bool = False,
        batch_size: int = 32,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Prediction | Iterator[Prediction]:
        """Say of pictures whether they are fake.

        Args:
            source: One picture (path, bytes, PIL image, uint8 array (H, W, 3)), a folder, or a
                list or other iterable of pictures and folders. An iterable is read some way ahead;
                what it gives may be closed or overwritten when the next one is asked for.
            heatmap: A method of `detector.explain.cam`, such as `gradcam`; None for no maps.
            regions: Also say how much of the map lies in which region of the face; without
                `heatmap` the map is `gradcam`'s.
            batch_size: Pictures that go through the network at once.
            progress: Called with the pictures done of several, and how many there are or None.

        Returns:
            Of one picture its answer; of several an iterator of answers in their order, which
            holds no more than a few batches in memory, and where one that cannot be read is an
            answer with an error.

        Raises:
            UserError: The one picture cannot be read; or the method is unknown; or heatmaps are
                asked of an exported file.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: give a whole number of at least 1")
        heatmap = heatmap or ("gradcam" if regions else None)
        explainer = None if heatmap is None else self._explainer(heatmap)
        if is_path(source) and is_folder(source):
            source = [source]
        elif is_picture(source):
            return self._one(source, explainer, regions, batch_size)
        if not isinstance(source, Iterable):
            raise UserError(f"a {type(source).__name__} is neither a picture nor a list of them")
        return stream(
            self, Sources(source), explainer=explainer, regions=regions, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip

    def _one(
        self, source: object, explainer: "Explainer | None", regions: bool, batch_size: int
    ) -> Prediction:
        try:
            looked = look(source, self.preprocess, regions)
            (answer,) = answer_all(self, [looked], explainer, batch_size)
            if answer.error:
                raise UserError(answer.error)
        except UserError as error:
            if name := name_of(source):
                raise type(error)(f"{name}: {error}") from error
            raise
        return answer

    def _explainer(self, method: str) -> "Explainer":
        """Kept, as each looks for its layer first."""
        network = self.network  # an exported file has none, and may be where torch is not

        from detector.explain.cam import Explainer

        known = self._explainers.get(method)
        if known is None or known.network is not network:
            known = self._explainers[method] = Explainer(network, method)
        return known

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
                results.append(self.answer(np.stack(batch), bf16=bf16)[:2])
                batch = []
        if batch:
            results.append(self.answer(np.stack(batch), bf16=bf16)[:2])
        margins, parts = (np.concatenate(each) for each in zip(*results, strict=True))
        return margins, parts

    def answer(
        self, batch: np.ndarray, *, bf16: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """All that the network says of one batch.

        Args:
            batch: uint8 (N, S, S, 3), through `preprocess`.
            bf16: As for `scores`.

        Returns:
            `margins` (N), `parts` (N, P), and features float32 (N, D), which the gate takes, or
            None where the backend has none.
        """
        logits, features = self.backend.run(self.preprocess.normalize(batch), bf16)
        return logits[:, 0] - logits[:, 1], probabilities(logits[:, CLASSES:]), features
