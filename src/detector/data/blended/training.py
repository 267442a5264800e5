"""Which pictures an epoch has when fakes are blended, and what each looks like in it.

- `self_blended`: each real picture of the train part whose face was found, and a blend of it: as
  many fakes as reals. The few without a found face come as they are. No fake of the set is read.
- `mixed`: the epoch of the set as it is, and after it, shuffled in, that of `self_blended`: each
  real picture twice, once for each kind of fakes, so that the classes stay as even as in the set.

Rows beyond those of the set stand for what is made: N + row is the blend of a row, 2 N + row the
picture that it was blended onto.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detector.data.blended.blend import self_blend, target_of
from detector.data.blended.landmarks import load_landmarks
from detector.data.cache import Pixels
from detector.data.listing import PAIR
from detector.data.preprocess import Preprocess
from detector.errors import UserError

if TYPE_CHECKING:
    from detector.data.load import FaceSet  # with all that finds and fetches sets

log = logging.getLogger(__name__)

FAKES = ("set", "self_blended", "mixed")
AS_IT_IS, BLEND, TARGET = range(3)


class Blending:
    """The train part of a set with blends of its real pictures.

    Args:
        labels: int (N) of the set.
        train: int (n), rows of its train part.
        landmarks: float32 (N, 5, 2), as `load_landmarks` gives them.
        fakes: self_blended or mixed.
        masks: One of `masks.KINDS`.
        seed: Of the run.

    Raises:
        UserError: No face was found in any of the real pictures of the train part.
    """

    def __init__(
        self,
        labels: np.ndarray,
        train: np.ndarray,
        landmarks: np.ndarray,
        *,
        fakes: str,
        masks: str,
        seed: int,
    ) -> None:
        self.fakes, self.masks, self.seed, self.n = fakes, masks, seed, len(labels)
        reals = train[labels[train] == 1]
        seen = np.isfinite(landmarks[reals]).all((1, 2))
        blended, others = reals[seen], reals[~seen]
        if not len(blended):
            raise UserError(
                f"data.fakes={fakes}: no face was found in any of the {len(reals)} real images of"
                " the train part; data.fakes=set trains on the set's own fakes"
            )
        self.counts = {
            "kind": fakes,
            "masks": masks,
            "blended": len(blended),
            "of_the_set": len(train) - len(reals) if fakes == "mixed" else 0,
            "reals": len(reals),
            "reals_without_a_face": len(others),
        }
        own = train if fakes == "mixed" else others
        self.rows = np.concatenate([own, self.n + blended, 2 * self.n + blended])
        self.labels = np.concatenate([labels, np.zeros_like(labels), np.ones_like(labels)])
        self.landmarks = landmarks

    def picture(self, pixels: Pixels, epoch: int, row: int) -> np.ndarray:
        """uint8 (S, S, 3) of one of `rows` in an epoch.

        The random numbers are those of seed, epoch and the real picture: the two of a pair fit,
        whichever process makes them.
        """
        return self.drawn(pixels, epoch, row)[0]

    def drawn(
        self, pixels: Pixels, epoch: int, row: int
    ) -> tuple[np.ndarray, tuple[int, ...] | None]:
        """`picture`, and which of `FACE_PARTS` this blend exchanged; None where it is no blend.

        Of parts, 1 is exchanged, 0 not. All are -1, unknown, where a mask of the whole face was
        drawn, which exchanges no part by itself, or one that covers no part well.
        """
        kind, row = divmod(row, self.n)
        if kind == AS_IT_IS:
            return pixels[row], None
        digest = blake2b(f"blend:{self.seed}:{epoch}:{row}".encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "little"))
        if kind == TARGET:
            return target_of(pixels[row], rng), None
        blend = self_blend(pixels[row], self.landmarks[row], rng, self.masks)
        known = blend.kind == "parts" and any(blend.parts)
        return blend.image, tuple(int(part) if known else -1 for part in blend.parts)

    def seed_row(self, row: int) -> int:
        """The row whose random numbers augment this one: the same for the two of a pair."""
        return self.n + row % self.n if row >= self.n else row

    def in_words(self) -> str:
        """What the fakes of the training are, in one line."""
        known = self.counts
        fakes = f"{known['blended']} self-blended ({known['masks']} masks), anew in each epoch"
        if known["of_the_set"]:
            fakes += f", and the set's {known['of_the_set']}, with each real image twice"
        else:
            fakes += "; the set's own are not used in training"
        if known["reals_without_a_face"]:
            fakes += (
                f"; in {known['reals_without_a_face']} of {known['reals']} real images no face was"
                " found, so that they are used as real ones alone"
            )
        return fakes


def blending_of(
    faces: FaceSet,
    preprocess: Preprocess,
    *,
    fakes: str,
    masks: str,
    seed: int,
    cache_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Blending | None:
    """What `data.fakes` asks for; None for the set's own fakes.

    Args:
        faces: The set and its split.
        preprocess: The network's.
        fakes: One of `FAKES`.
        masks: One of `masks.KINDS`.
        seed: Of the run.
        cache_dir: Where landmarks are kept.
        progress: Called with pictures done and pictures in all, where faces are looked for.

    Raises:
        UserError: The classes are not fake and real, or no face is found, or a file is lost.
    """
    if fakes == "set":
        return None
    index = faces.index
    if tuple(index.class_names) != PAIR:
        raise UserError(
            f"data.fakes={fakes} makes fakes of real images, but the classes of {index.name} are"
            f" {' and '.join(index.class_names)}: data.fakes=set"
        )
    landmarks = load_landmarks(index, preprocess, cache_dir, progress)
    train = np.flatnonzero(faces.parts == "train")
    blending = Blending(index.labels, train, landmarks, fakes=fakes, masks=masks, seed=seed)
    log.info("fakes of the training: %s", blending.in_words())
    return blending
