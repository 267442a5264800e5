"""Augmentation of training images: torchvision's transforms, by name from the config.

Each image gets its own random numbers, from the seed, the epoch and its row. So
the result depends neither on the number of loader processes nor on what was drawn
before, and a resumed run sees exactly what it would have seen.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from detector.compiled import available
from detector.data.blends import blends
from detector.errors import UserError


class _Affine(v2.Transform):
    """Rotation and shear in degrees, shift as a share of the side, zoom 1-z..1+z an axis.

    The map of Keras' ImageDataGenerator: from where a pixel goes to where it is taken
    from, turned, shifted, sheared and zoomed about the centre, with edges repeated
    outward. (Black corners would tell the network how far a picture was turned.
    torchvision fills with a constant only, and padding first costs ten times as much,
    hence OpenCV.)
    """

    def __init__(self, *, rotate: float, shift: float, shear: float, zoom: float) -> None:
        super().__init__()
        if not (0 <= rotate <= 180 and 0 <= shift < 1 and 0 <= shear < 90 and 0 <= zoom < 1):
            raise ValueError("rotate 0..180 and shear 0..90 degrees, shift and zoom 0..1")
        self.low = torch.tensor([-rotate, -shift, -shift, -shear, 1 - zoom, 1 - zoom])
        self.high = torch.tensor([rotate, shift, shift, shear, 1 + zoom, 1 + zoom])

    def make_params(self, flat_inputs: list) -> dict:
        drawn = self.low + (self.high - self.low) * torch.rand(6)
        names = ("rotate", "right", "down", "shear", "zoom_x", "zoom_y")
        return dict(zip(names, drawn.tolist(), strict=True))

    @staticmethod
    def matrix(params: Mapping[str, float], height: int, width: int) -> np.ndarray:
        """(2, 3): from a pixel's place (x, y, 1) to where its value is taken from."""
        turn, shear = math.radians(params["rotate"]), math.radians(params["shear"])
        turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        sheared = np.array([[1, -math.sin(shear)], [0, math.cos(shear)]])
        linear = turned @ sheared @ np.diag([params["zoom_x"], params["zoom_y"]])
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        shifted = turned @ [params["right"] * width, params["down"] * height]
        offset = centre + shifted - linear @ centre
        return np.column_stack([linear, offset])

    def transform(self, inpt: Tensor, params: dict) -> Tensor:
        height, width = inpt.shape[-2:]
        moved = cv2.warpAffine(
            inpt.permute(1, 2, 0).numpy(),
            self.matrix(params, height, width),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return torch.from_numpy(moved).permute(2, 0, 1)


class _Crop(v2.RandomResizedCrop):
    """torchvision's, to the bit, without the third of the time that it takes to get there."""

    def __init__(self, *args: object, **settings: object) -> None:
        super().__init__(*args, **settings)
        self._log_ratio = self._log_ratio.tolist()  # one-element tensors take a third of a draw

    def transform(self, inpt: Tensor, params: dict) -> Tensor:
        top, left = params["top"], params["left"]
        cut = inpt[:, top : top + params["height"], left : left + params["width"]]
        size = tuple(self.size)
        return torch.nn.functional.interpolate(
            cut[None], size, mode="bilinear", align_corners=False, antialias=True
        )[0]


def _crop(size: int, *, scale: float) -> v2.Transform:
    if not 0 < scale <= 1:
        raise ValueError("scale is the least share of the picture, above 0 and at most 1")
    return _Crop(size, scale=(scale, 1.0), ratio=(0.9, 1.1), antialias=True)


class _Jitter(v2.ColorJitter):
    """torchvision's, rounded once and faster (`benchmarks/augment.py` times the whole chain).

    Each step is linear in the pixels, so all of them together are one matrix. torchvision cuts off
    what lies behind the point after each: half a grey level darker a step. OpenCV's matrix has ten
    bits behind the point, so that a value may be off by one. Hue is left out.
    """

    def transform(self, inpt: Tensor, params: dict) -> Tensor:
        picture = interleaved(inpt)
        changed = cv2.transform(picture, blends(jitter_steps(params), cv2.mean(picture)[:3]))
        return torch.from_numpy(changed).permute(2, 0, 1)


def jitter_steps(params: Mapping) -> list[tuple[int, float]]:
    """What torchvision drew, as `blends` takes it; hue is left out."""
    factors = [params[f"{name}_factor"] for name in ("brightness", "contrast", "saturation")]
    order = [kind for kind in params["fn_idx"].tolist() if kind < len(factors)]
    return [(kind, factors[kind]) for kind in order if factors[kind] is not None]


def interleaved(image: Tensor) -> np.ndarray:
    """uint8 (S, S, 3), contiguous, of an image (3, S, S) in whatever order in memory."""
    if image.is_contiguous():  # planes, which OpenCV interleaves in a fifth of NumPy's time
        return cv2.merge([plane.numpy() for plane in image])
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _jitter(size: int, *, brightness: float, contrast: float, saturation: float) -> v2.Transform:
    return _Jitter(brightness, contrast, saturation)


class _Flip(v2.RandomHorizontalFlip):
    """Says whether the last picture was mirrored: its left and right labels then change places."""

    flipped = False

    def forward(self, *inputs):
        self.flipped = False
        return super().forward(*inputs)

    def transform(self, inpt: Tensor, params: dict) -> Tensor:
        self.flipped = True
        return inpt.flip(-1)


class _Downscale(v2.Transform):
    """Shrink by a random factor and enlarge again, as pictures passed on are."""

    def __init__(self, low: float) -> None:
        super().__init__()
        if not 0 < low <= 1:
            raise ValueError("low is the least factor, above 0 and at most 1")
        self.low = low

    def make_params(self, flat_inputs: list) -> dict:
        return {"factor": float(torch.empty(()).uniform_(self.low, 1.0))}

    def transform(self, inpt, params: dict):
        height, width = inpt.shape[-2:]
        small = [max(1, round(height * params["factor"])), max(1, round(width * params["factor"]))]
        shrunk = v2.functional.resize(inpt, small, antialias=True)
        return v2.functional.resize(shrunk, [height, width], antialias=True)


def _sometimes(transform: v2.Transform, p: float) -> v2.Transform:
    return v2.RandomApply([transform], p=p)


_STEPS = {
    "flip": lambda size, *, p: _Flip(p),
    "affine": lambda size, **settings: _Affine(**settings),
    "crop": _crop,
    "jitter": _jitter,
    "jpeg": lambda size, *, p, low, high: _sometimes(v2.JPEG((low, high)), p),
    "blur": lambda size, *, p, low, high: _sometimes(v2.GaussianBlur(7, (low, high)), p),
    "resize": lambda size, *, p, low: _sometimes(_Downscale(low), p),
    "noise": lambda size, *, p, sigma: _sometimes(v2.GaussianNoise(0.0, sigma), p),
}

# Steps whose random numbers do not depend on the picture: they can be drawn before it is changed.
AHEAD = ("flip", "affine", "crop", "jitter")
IN_A_LOOP = ("flip", "crop", "jitter")  # steps that `kernels.change` does together, in this order
Drawn = list[tuple[v2.Transform, dict]]


class Augment:
    """A chain of random transforms with its own random numbers.

    Args:
        steps: Each a mapping with `step`, its name, and the step's own settings.
        size: Side of the images, in pixels.
        seed: Of the run.

    Raises:
        UserError: A step or a setting is unknown or out of range.
    """

    def __init__(self, steps: Sequence[Mapping], size: int, seed: int) -> None:
        self.seed, self.size = seed, size
        self.names = [str(step.get("step")) for step in steps]
        self.transforms = [self._build(dict(step), size) for step in steps]
        known = [name for name in IN_A_LOOP if name in self.names]
        self.in_a_loop = bool(known) and known == self.names and available()
        for transform, step in zip(self.transforms, steps, strict=True):
            self._try(transform, step, size)

    @staticmethod
    def _try(transform: v2.Transform, step: Mapping, size: int) -> None:
        # Some settings are refused only at work, which for a rare step is hours into a run.
        inner = transform.transforms[0] if isinstance(transform, v2.RandomApply) else transform
        state = torch.get_rng_state()
        try:
            inner(torch.zeros(3, size, size, dtype=torch.uint8))
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"augment.steps: {dict(step)}: {error}") from error
        finally:
            torch.set_rng_state(state)

    @staticmethod
    def _build(step: dict, size: int) -> v2.Transform:
        name = step.pop("step", None)
        if name not in _STEPS:
            raise UserError(f"augment.steps: no step {name}; there are {', '.join(_STEPS)}")
        try:
            return _STEPS[name](size, **step)
        except (TypeError, ValueError) as error:
            raise UserError(f"augment.steps: {name} with {step}: {error}") from error

    def __call__(self, image: Tensor, epoch: int, row: int) -> Tensor:
        """Augment one image.

        Args:
            image: uint8 (3, S, S).
            epoch: Number of the epoch, from 0.
            row: The image's row in the index.

        Returns:
            uint8 (3, S, S).
        """
        return self.drawn(image, epoch, row)[0]

    def drawn(self, image: Tensor, epoch: int, row: int) -> tuple[Tensor, bool]:
        """The augmented image, and whether it is a mirror image."""
        if not self.transforms:
            return image, False
        if self.in_a_loop:
            steps, mirrored = self.draw(epoch, row)
            into = np.empty((self.size, self.size, 3), np.uint8)
            self.change(interleaved(image), steps, into)
            return torch.from_numpy(into).permute(2, 0, 1), mirrored
        mirrored = False
        with self.random_numbers(epoch, row):
            for transform in self.transforms:
                image = transform(image)
                mirrored ^= getattr(transform, "flipped", False)
        return image, mirrored

    @property
    def ahead(self) -> bool:
        """Whether all random numbers can be drawn ahead, by `draw`."""
        return all(name in AHEAD for name in self.names)

    def draw(self, epoch: int, row: int) -> tuple[Drawn, bool]:
        """What `drawn` would do to an image: steps for `change`, and whether they mirror it."""
        found, mirrored = [], False
        shape = torch.empty(()).expand(3, self.size, self.size)
        with self.random_numbers(epoch, row):
            for transform in self.transforms:
                if isinstance(transform, _Flip):
                    if torch.rand(1) >= transform.p:  # as torchvision decides
                        continue
                    mirrored = not mirrored
                found.append((transform, transform.make_params([shape])))
        return found, mirrored

    def change(self, picture: np.ndarray, steps: Drawn, into: np.ndarray) -> None:
        """Apply what was drawn; several threads may.

        Args:
            picture: uint8 (S, S, 3), left as it is.
            steps: As `draw` gives them.
            into: uint8 (S, S, 3), contiguous, gets the result.
        """
        if self.in_a_loop:
            one = InALoop([steps], self.size)
            one.change(np.asarray(picture)[None], np.zeros(1, np.int64), 0, 1, into[None])
            return
        image = torch.from_numpy(picture).permute(2, 0, 1)
        for transform, params in steps:
            image = transform.transform(image, params)
        into[:] = interleaved(image)

    @contextmanager
    def random_numbers(self, epoch: int, row: int) -> Iterator[None]:
        """Within it, PyTorch draws on the CPU what belongs to this row in this epoch."""
        digest = blake2b(f"{self.seed}:{epoch}:{row}".encode(), digest_size=7).digest()
        # Only the CPU generator: torch.manual_seed would also restart the device's, and with
        # it every dropout mask of a run that loads in its main process.
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(int.from_bytes(digest, "little"))
        try:
            yield
        finally:
            torch.set_rng_state(state)


class InALoop:
    """What was drawn for a batch, as `kernels.change_each` takes it.

    Args:
        drawn: Of each picture.
        size: Side of the pictures, pixels.
    """

    def __init__(self, drawn: Sequence[Drawn], size: int) -> None:
        n = len(drawn)
        self.mirrored, self.boxes = np.zeros(n, bool), np.full((n, 4), (0, 0, size, size))
        self.kinds, self.factors = np.full((n, 3), -1), np.ones((n, 3))
        for at, steps in enumerate(drawn):
            for transform, params in steps:
                if isinstance(transform, _Flip):
                    self.mirrored[at] = True
                elif isinstance(transform, _Crop):
                    names = ("top", "left", "height", "width")
                    self.boxes[at] = [params[name] for name in names]
                else:
                    for step, (kind, factor) in enumerate(jitter_steps(params)):
                        self.kinds[at, step], self.factors[at, step] = kind, factor

    def change(
        self, pictures: np.ndarray, rows: np.ndarray, first: int, last: int, into: np.ndarray
    ) -> None:
        """Apply it to a range of the batch, without the interpreter's lock.

        Args:
            pictures: uint8 (M, S, S, 3).
            rows: Which of them are the batch, int64 (N).
            first, last: Range within N.
            into: uint8 (N, S, S, 3), contiguous.

        Raises:
            IndexError: A row or a size is not that of the pictures; loops look at neither.
        """
        there = all(0 <= row < len(pictures) for row in rows.tolist())
        if not there or pictures.shape[1:] != into.shape[1:]:
            raise IndexError(f"pictures {pictures.shape}, batch {into.shape}, rows {rows}")
        from detector.data.kernels import change_each  # Numba, which takes half a second

        pictures = np.asarray(pictures)[:]
        pictures.flags.writeable = False  # as a memory map is: a loop is compiled for each type
        change_each(
            pictures, rows, self.mirrored, self.boxes, self.kinds, self.factors, first, last, into
        )
