"""Class activation maps on a fixed scale, by pytorch-grad-cam.

The library gives the weights of each method. Around it, here:

- Float32 always: weights go in as detached float32, so that a network in bf16, frozen, or in
  the middle of a validation gives the same map, and no gradient is filled.
- The gradient is cut at the target layer: what lies before it is only run forward.
- Raw maps: the library scales each map to its own maximum, after which two images cannot be
  compared and a map without evidence looks like any other.

One unit of a `gradcam`, `hirescam` or `layercam` map is one logit: what a cell of the target
layer adds to the logit of the class, to first order, with negative sums at 0. `ablationcam` has
drops of the logit times activations, `scorecam` a mean of activations, `gradcam++` activations
times a sum of weighted gradients, `eigencam` activations along their first component: that one
knows no class. Maps of one network, method and layer can be compared.
"""

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from detector.errors import UserError
from detector.explain.layers import Place, candidates, first_fine, place_of, target_layer_of
from detector.explain.methods import METHODS, SLOW, Ablated, Logit, raw_method

__all__ = ["METHODS", "SLOW", "Explainer", "normalized", "target_layer_of"]


class Explainer:
    """Maps of where a network saw evidence for a class.

    The network stays as it is: modes, gradients, hooks and random numbers. It is not copied,
    and its weights of the moment are used, so one explainer serves a whole training.

    Args:
        network: Images (N, 3, S, S) to logits (N, classes), in any mode and precision.
        method: A name in `METHODS`.
        target_layer: Dotted name of the layer whose cells are explained; None takes
            `target_layer_of`, or an earlier one where a small image leaves that few cells.
        batch_size: Images that go through the network at once.

    Raises:
        UserError: The method or the layer is unknown, or none is known for this network.
    """

    def __init__(
        self,
        network: nn.Module,
        method: str = "gradcam",
        target_layer: str | None = None,
        batch_size: int = 32,
    ) -> None:
        if method not in METHODS:
            raise UserError(f"method={method}: choose among {', '.join(METHODS)}")
        if target_layer is not None and target_layer not in dict(network.named_modules()):
            raise UserError(
                f"target_layer={target_layer}: {type(network).__name__} has no such layer; see"
                " network.named_modules()"
            )
        self.network, self.method, self.batch_size = network, method, batch_size
        self._names = candidates(network) if target_layer is None else [target_layer]
        self._places: dict[int, tuple[Place, int]] = {}  # by side of the image

    def maps(
        self,
        images: Tensor | np.ndarray,
        class_index: int | Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Explain images.

        Args:
            images: float (N, 3, S, S), normalized as the network wants them.
            class_index: The class explained, or one for each image; None takes the class
                that the network prefers.

        Returns:
            float32 (N, S, S), at least 0, on the scale of the method; all zero where nothing
            speaks for the class, or where the network's answer is not finite.

        Raises:
            UserError: A class is out of range, or the layer has no cells that can be placed.
            ValueError: The shape of images, or the number of classes, is another.
        """
        images = torch.as_tensor(images)
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"images must be (N, 3, S, S), not {tuple(images.shape)}")
        size, count = images.shape[-1], len(images)
        maps = np.zeros((count, size, size), np.float32)
        step = 1 if self.method in SLOW else self.batch_size  # ScoreCAM: C copies of an image
        with _untouched(self.network) as network:
            place, classes = self._place(network, size)
            wanted = _wanted(class_index, count, classes)
            for start in range(0, count, step):
                part = slice(start, start + step)
                batch = _plain(images[part].to(network.device))
                cells = _cells(network, self.method, place, batch, wanted and wanted[part])
                maps[part] = _upsampled(cells, size)
        return maps

    def logits(self, images: Tensor | np.ndarray) -> np.ndarray:
        """What the network answers, in float32 and eval mode; nothing of it changes.

        Args:
            images: As for `maps`.

        Returns:
            float32 (N, classes).
        """
        images = torch.as_tensor(images)
        with _untouched(self.network) as network, torch.no_grad():
            steps = range(0, len(images), self.batch_size)
            parts = [_plain(images[at : at + self.batch_size].to(network.device)) for at in steps]
            return torch.cat([network(part).cpu() for part in parts]).numpy()

    def layer(self, size: int) -> str:
        """Name of the layer that is explained in images of this side.

        Raises:
            UserError: As for `maps`.
        """
        with _untouched(self.network) as network:
            return self._place(network, size)[0].name

    def _place(self, network: "_Float32", size: int) -> tuple[Place, int]:
        if size not in self._places:
            self._places[size] = _find(network, self._names, size)
        return self._places[size]


def normalized(maps: np.ndarray) -> np.ndarray:
    """Each pixel's share of its map.

    Args:
        maps: (N, S, S), at least 0.

    Returns:
        float32 (N, S, S), each map adding up to 1; one that is all zero stays so.
    """
    total = np.sum(maps, axis=(1, 2), keepdims=True, dtype=np.float64)
    return np.divide(maps, total, out=np.zeros(maps.shape), where=total > 0).astype(np.float32)


class _Float32(nn.Module):
    """A network run in float32 on detached weights. The library gets this one to work on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.device = next(network.parameters()).device
        self.copies = False  # whether batches are copies of one image

    def forward(self, images: Tensor) -> Tensor:
        state = itertools.chain(self.network.named_parameters(), self.network.named_buffers())
        weights = {name: _plain(value) for name, value in state}
        if self.copies:  # what lies before the layer that makes them differ needs one only
            with contextlib.suppress(RuntimeError):  # where a shortcut around it is concatenated
                return torch.func.functional_call(self.network, weights, (images[:1],))
        return torch.func.functional_call(self.network, weights, (images,))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: the library calls it, and would empty the gradients of a training."""


def _plain(value: Tensor) -> Tensor:
    value = value.detach()
    if value.is_floating_point():
        value = value.float()  # the same memory where it is float32 already
    return value.clone() if value.is_inference() else value  # autograd refuses those


@contextlib.contextmanager
def _untouched(network: nn.Module) -> Iterator[_Float32]:
    """The network in eval mode and float32, wherever this is called from; then as it was."""
    modes = [(module, module.training) for module in network.modules()]
    wrapped = _Float32(network)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(wrapped.device.type, enabled=False),
        ):
            yield wrapped.eval()
    finally:
        for module, training in modes:
            module.training = training


def _find(network: _Float32, names: list[str], size: int) -> tuple[Place, int]:
    """Which of these layers is explained, and the number of classes."""
    seen: dict[str, list] = {name: [] for name in names}
    hooks = [
        network.network.get_submodule(name).register_forward_hook(
            lambda _, __, output, kept=kept: kept.append(output)
        )
        for name, kept in seen.items()
    ]
    try:
        with torch.no_grad():
            logits = network(torch.zeros(1, 3, size, size, device=network.device))
    finally:
        for hook in hooks:
            hook.remove()
    places = (place_of(network.network, *each) for each in seen.items())
    place = first_fine(network.network, places)
    if place.side > 1:
        return place, logits.shape[-1]
    raise UserError(
        f"target_layer={names[0]}: {type(network.network).__name__} has a single cell there at"
        f" {size} px; name an earlier layer with target_layer="
    )


def _wanted(class_index, count: int, classes: int) -> list[int] | None:
    if class_index is None:
        return None
    given = np.asarray(class_index)
    if given.ndim and given.shape != (count,):
        raise ValueError(f"{given.shape} classes for {count} images")
    wanted = np.broadcast_to(given, count).tolist()
    for index in wanted:  # the library would count from the end, or give None
        if index not in range(classes):
            raise UserError(f"class {index}: the network has classes 0 to {classes - 1}")
    return [int(index) for index in wanted]


def _cells(
    network: _Float32, method: str, place: Place, images: Tensor, classes: list[int] | None
) -> np.ndarray:
    """float32 (N, h, w), at least 0."""
    options, targets = {}, None if classes is None else [Logit(index) for index in classes]
    if method == "ablationcam":
        with torch.no_grad():
            logits = network(images)
        # The library divides by the score, and so takes on its sign and size: made 1 here.
        classes = logits.argmax(1).tolist() if classes is None else classes
        targets = [Logit(c, 1 - float(row[c])) for c, row in zip(classes, logits, strict=True)]
        options = {"ablation_layer": Ablated(place.layout)}

    def cut(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
        output = output.relu() if place.rectify else output
        # A leaf, so that the gradient ends here; a copy of it, which may be worked on in place.
        return output.detach().requires_grad_(torch.is_grad_enabled()).clone()

    owner, _, own_name = place.name.rpartition(".")
    owner = network.network.get_submodule(owner)
    hook, cam = place.module.register_forward_hook(cut), None
    network.copies = method == "ablationcam"
    try:
        cam = raw_method(method)(network, [place.module], place.cells, **options)
        bars = contextlib.redirect_stderr(io.StringIO())  # one for every image
        with torch.set_grad_enabled(cam.uses_gradients), bars:
            cells = cam(images, targets)
    except RuntimeError as error:
        outputs = getattr(cam, "outputs", None)
        if outputs is not None and cam.uses_gradients and not outputs.requires_grad:
            raise UserError(
                f"target_layer={place.name}: nothing of it reaches the logits; name another layer"
            ) from error
        raise
    finally:
        hook.remove()
        network.copies = False
        if cam is not None:
            cam.activations_and_grads.release()
        setattr(owner, own_name, place.module)  # AblationCAM leaves its own when it fails
    finite = torch.isfinite(cam.outputs).all(1).cpu().numpy() & np.isfinite(cells).all((1, 2))
    return np.where(finite[:, None, None], cells, 0).astype(np.float32)


def _upsampled(cells: np.ndarray, size: int) -> np.ndarray:
    """float32 (N, S, S); bilinear, as the library does it."""
    scaled = nn.functional.interpolate(
        torch.from_numpy(cells)[:, None], (size, size), mode="bilinear", align_corners=False
    )
    return scaled[:, 0].numpy()
