"""Which layer of a network is explained, and where its cells lie in the image."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.errors import UserError
from detector.models.cnn import SmallCNN

CELLS = 7  # along a side, at least, in the small networks: what they leave of 224 px
CELLS_TIMM = 4  # in the others, where shortcuts keep more of what a cell has seen in its place


def target_layer_of(network: nn.Module) -> str:
    """Name of the layer whose cells are explained: the last with spatial extent.

    In images so small that few cells are left there an earlier layer is taken (`first_fine`):
    where each cell sees all of the image, no method finds its way back. Of cnn6 trained for 40
    steps at 64 px on a patch in any place, the 2x2 cells of the last convolution (which see 127
    px each) put .27 of Grad-CAM and .24 of HiResCAM on the quadrant of the patch, chance being
    .25; the 8x8 cells two convolutions earlier .85 and .93.

    - cnn2, cnn3, cnn6: the convolution or batch norm before the last pool, rectified. The ReLU
      comes after that pool here, and the two commute, so that this is the block's output at
      twice the resolution (7x7, not 4x4, in cnn6 at 224 px).
    - timm networks that answer from a class token: `norm1` of the last block, the last place
      where patches still reach the logits. After it only the class token does.
    - Other timm networks: the layer norm over all cells where there is one, as in Swin, else
      the last entry of `feature_info`. Before a layer norm gradient times activation adds up
      to 0 in each cell, as the norm takes off any scale: HiResCAM would be noise. For the same
      reason a network with layer norms is explained at no earlier stage.

    Raises:
        UserError: None is known for this network.
    """
    return candidates(network)[0]


def candidates(network: nn.Module) -> list[str]:
    """Target layers from the last to the first, for images that leave the last few cells.

    Raises:
        UserError: None is known for this network.
    """
    if isinstance(network, SmallCNN):
        found = [name for name, _ in _before_pools(network)][::-1]
    elif getattr(network, "num_prefix_tokens", 0) and _pooling(network) == "token":
        found = [f"blocks.{len(network.blocks) - 1}.norm1"]
    else:
        stages = getattr(network, "feature_info", None) or []
        found = [stage["module"] for stage in stages if isinstance(stage, dict)][::-1]
        if found and isinstance(getattr(network, "norm", None), nn.LayerNorm):
            found.insert(0, "norm")
        if any(isinstance(module, nn.LayerNorm) for module in network.modules()):
            found = found[:1]
    known = dict(network.named_modules())
    if found and all(name in known for name in found):
        return found
    raise UserError(
        f"no layer to explain is known for {type(network).__name__}: name one with"
        " target_layer=, such as the last convolution (see network.named_modules())"
    )


def _pooling(network: nn.Module) -> str:
    return getattr(network, "global_pool", "")


def _before_pools(network: SmallCNN) -> list[tuple[str, nn.Module]]:
    leaves = [
        (f"features.{name}", module)
        for name, module in network.features.named_modules()
        if next(module.children(), None) is None
    ]
    pairs = itertools.pairwise(leaves)
    return [first for first, (_, second) in pairs if isinstance(second, nn.MaxPool2d)]


@dataclass(frozen=True)
class Place:
    """A layer, and how its output becomes cells.

    Args:
        name: Dotted.
        module: The layer.
        layout: Axes of its output: NCHW, NHWC, or NLC for tokens.
        prefix: Tokens in front that stand for no patch.
        side: Cells along one side.
        rectify: Whether the ReLU of this layer comes after the pool that follows.
    """

    name: str
    module: nn.Module
    layout: str
    prefix: int
    side: int
    rectify: bool

    def cells(self, output: Tensor) -> Tensor:
        """(N, C, h, w) of the layer's output, a copy: a later layer may work in place."""
        if self.layout == "NLC":
            output = output[:, self.prefix :].unflatten(1, (self.side, self.side))
        if self.layout != "NCHW":
            output = output.movedim(-1, 1)
        return output.clone(memory_format=torch.contiguous_format)


def first_fine(network: nn.Module, places: Iterable[Place]) -> Place:
    """The first with enough cells a side; where none has, the one with the most.

    Args:
        network: Decides between `CELLS` and `CELLS_TIMM`.
        places: From the last layer to the first, at least one; no more are read than needed.
    """
    enough = CELLS if isinstance(network, SmallCNN) else CELLS_TIMM
    most = None
    for place in places:
        if place.side >= enough:
            return place
        if most is None or place.side > most.side:
            most = place
    return most


def place_of(network: nn.Module, name: str, outputs: list) -> Place:
    """Finds out which axes of a layer's output are channels and which are cells.

    Images are square, so of three axes the two equal ones are the cells. Where that does not
    decide there is an error: a wrong guess would give a wrong map that looks like any other.

    Args:
        network: Has the layer.
        name: Of the layer.
        outputs: What it gave in one pass of one image.

    Raises:
        UserError: The layer ran more than once or not at all, or its axes stay unclear.
    """
    module = network.get_submodule(name)
    rectify = isinstance(network, SmallCNN) and name in dict(_before_pools(network))
    shape = tuple(outputs[0].shape) if len(outputs) == 1 and torch.is_tensor(outputs[0]) else ()
    if len(shape) == 4:
        _, a, b, c = shape
        layout = "NCHW" if b == c else "NHWC" if a == b else None
        if a == b == c and not isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d):
            layout = getattr(network, "output_fmt", None)
        if layout in ("NCHW", "NHWC"):
            return Place(name, module, layout, 0, b, rectify)
    if len(shape) == 3:
        prefix = getattr(network, "num_prefix_tokens", None)
        rows, columns = getattr(getattr(network, "patch_embed", None), "grid_size", (0, 1))
        if prefix is not None and rows == columns and shape[1] == prefix + rows * columns:
            return Place(name, module, "NLC", prefix, rows, rectify)
    raise UserError(
        f"target_layer={name}: {type(network).__name__} gives"
        f" {f'output of shape {shape}' if shape else 'not one output'} there, whose cells"
        " cannot be placed; name another layer with target_layer="
    )
