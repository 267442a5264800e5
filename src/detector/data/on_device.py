"""Augmentation of whole batches on the device that trains, instead of image by image on the CPU.

The random numbers are those of `transforms.Augment`: the loader draws them, each image from the
seed, the epoch and its row, and sends them along. So a resumed run sees the same pictures, and a
picture does not depend on its batch.

The steps are those of `transforms` too, to rounding. Crops differ by one grey level, since
torchvision rounds between rows and columns (a crop is enlarged, so there is nothing to smooth), and
jitter by one, since OpenCV takes its factors to 1/1024.
`affine` differs by more where pixels differ much, since OpenCV takes places to 1/32 of a pixel.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import v2

from detector.data.blends import GREY
from detector.data.transforms import Augment
from detector.errors import UserError

log = logging.getLogger(__name__)


class _Kind(NamedTuple):
    """One kind of step.

    Args:
        count: How many numbers an image of it takes.
        draw: The numbers, of the CPU's transform and an image's shape, from PyTorch's generator.
        apply: From uint8 (N, 3, S, S) and float32 (N, count) to uint8 (N, 3, S, S).
    """

    count: int
    draw: Callable[[v2.Transform, Tensor], list[float]]
    apply: Callable[[Tensor, Tensor], Tensor]


def _columns(numbers: Tensor) -> tuple[Tensor, ...]:
    """Each column, as (N, 1, 1)."""
    return numbers[:, :, None, None].unbind(1)


def _sampled(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Pixels at places x and y (N, S, S), in pixels within the images, linear in between."""
    side = images.shape[-1]
    grid = torch.stack([x, y], -1) * (2 / (side - 1)) - 1
    taken = torch.nn.functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return taken.round().to(torch.uint8)


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """x of each column (1, 1, S), y of each row (1, S, 1)."""
    along = torch.arange(images.shape[-1], dtype=torch.float32, device=images.device)
    return along[None, None, :], along[None, :, None]


def _draw_flip(transform: v2.Transform, shape: Tensor) -> list[float]:
    return [float(not torch.rand(1) >= transform.p)]


def _flip(images: Tensor, numbers: Tensor) -> Tensor:
    return torch.where(numbers[:, :, None, None] > 0, images.flip(-1), images)


def _draw_crop(transform: v2.Transform, shape: Tensor) -> list[float]:
    params = transform.make_params([shape])
    return [params[name] for name in ("left", "top", "width", "height")]


def _crop(images: Tensor, numbers: Tensor) -> Tensor:
    left, top, width, height = _columns(numbers)
    x, y = ((place + 0.5) / images.shape[-1] for place in _places(images))
    # Half a pixel beyond the crop its edge is repeated; the picture's next pixel is not of it.
    x = left + (x * width - 0.5).clamp(min=0).minimum(width - 1)
    y = top + (y * height - 0.5).clamp(min=0).minimum(height - 1)
    x, y = torch.broadcast_tensors(x, y)
    return _sampled(images, x, y)


def _draw_affine(transform: v2.Transform, shape: Tensor) -> list[float]:
    params = transform.make_params([shape])
    return transform.matrix(params, *shape.shape[-2:]).ravel().tolist()


def _affine(images: Tensor, numbers: Tensor) -> Tensor:
    xx, xy, x1, yx, yy, y1 = _columns(numbers)
    x, y = _places(images)
    last = images.shape[-1] - 1
    # No matrix product, which under autocast would be one of 8 bits.
    return _sampled(
        images, (xx * x + xy * y + x1).clamp(0, last), (yx * x + yy * y + y1).clamp(0, last)
    )


def _draw_jitter(transform: v2.Transform, shape: Tensor) -> list[float]:
    params = transform.make_params([shape])
    factors = [params[f"{name}_factor"] for name in ("brightness", "contrast", "saturation")]
    order = [kind for kind in params["fn_idx"].tolist() if kind < len(factors)]  # no hue
    return [n for kind in order for n in (kind, 1.0 if factors[kind] is None else factors[kind])]


def _jitter(images: Tensor, numbers: Tensor) -> Tensor:
    """Three blends in an order of each image's own, as `blends` puts them together."""
    means = images.int().sum((-2, -1)).float() / images[0, 0].numel()
    grey = torch.tensor(GREY, device=images.device)
    map_ = torch.eye(3, 4, device=images.device).repeat(len(images), 1, 1)
    for blend in numbers[:, :, None, None].split(2, 1):
        kind, factor = blend.unbind(1)
        # Sums and no matrix products, which under autocast would be ones of 8 bits.
        greys = (grey[:, None] * map_).sum(1, keepdim=True)
        of_mean = (greys[..., :3] * means[:, None]).sum(-1, keepdim=True) + greys[..., 3:]
        constant = torch.nn.functional.pad(of_mean, (3, 0))
        other = torch.where(kind == 1, constant, greys) * (kind > 0)
        map_ = factor * map_ + (1 - factor) * other
    red, green, blue = (part.float()[:, None] for part in images.unbind(1))
    r, g, b, rest = (map_[:, :, k, None, None] for k in range(4))
    return (r * red + g * green + b * blue + rest).round().clamp(0, 255).to(torch.uint8)


_KINDS = {
    "flip": _Kind(1, _draw_flip, _flip),
    "crop": _Kind(4, _draw_crop, _crop),
    "affine": _Kind(6, _draw_affine, _affine),
    "jitter": _Kind(6, _draw_jitter, _jitter),
}


class OnDevice:
    """`Augment` in two: the loader draws, and the device changes the pictures.

    Args:
        augment: The steps, each of which `unsupported` does not name.
    """

    def __init__(self, augment: Augment) -> None:
        self.augment = augment
        self.kinds = [_KINDS[name] for name in augment.names]
        self.shape = torch.empty(()).expand(3, augment.size, augment.size)

    def draw(self, epoch: int, row: int) -> tuple[Tensor, bool]:
        """float32 (K): what is drawn for an image, and whether it becomes a mirror image."""
        numbers, mirrored = [], False
        with self.augment.random_numbers(epoch, row):
            for kind, transform in zip(self.kinds, self.augment.transforms, strict=True):
                drawn = kind.draw(transform, self.shape)
                mirrored ^= kind.apply is _flip and drawn[0] > 0
                numbers += drawn
        return torch.tensor(numbers, dtype=torch.float32), mirrored

    @torch.no_grad()
    def __call__(self, images: Tensor, numbers: Tensor) -> Tensor:
        """uint8 (N, 3, S, S), augmented.

        Args:
            images: uint8 (N, 3, S, S).
            numbers: float32 (N, K), each image's as `draw` gives them, on the same device.
        """
        steps = numbers.split([kind.count for kind in self.kinds], 1)
        for kind, own in zip(self.kinds, steps, strict=True):
            images = kind.apply(images, own)
        return images


def unsupported(augment: Augment) -> list[str]:
    """Steps that run on the CPU alone."""
    return [name for name in augment.names if name not in _KINDS]


def choose_place(setting: bool | str, augment: Augment, accelerator: str) -> OnDevice | None:
    """Where pictures are augmented: on the device, or by the loader, which is None.

    Args:
        setting: True, False or `auto`: on a GPU, where each step can.
        augment: The steps.
        accelerator: `cpu`, `mps` or `gpu`, as Lightning names them.

    Raises:
        UserError: True is given, and a step runs on the CPU alone.
    """
    left = ", ".join(dict.fromkeys(unsupported(augment)))
    if setting is True and left:
        raise UserError(
            f"augment.device=true, but the CPU alone can do {left} of augment.steps:"
            " augment.device=auto"
        )
    if not augment.names or setting is False or (setting == "auto" and accelerator != "gpu"):
        return None
    if left:
        log.info("pictures are augmented by the loader, as the CPU alone can do %s", left)
        return None
    log.info("pictures are augmented on the device that trains")
    return OnDevice(augment)
