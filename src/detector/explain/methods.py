"""The methods of pytorch-grad-cam, giving raw maps: its weights, without its scaling."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

METHODS = {  # names as written in options: class of pytorch_grad_cam
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "scorecam": "ScoreCAM",
    "ablationcam": "AblationCAM",
}
SLOW = ("scorecam", "ablationcam")  # a pass for each channel and image


@cache
def raw_method(name: str) -> type:
    """The library's class for a name in `METHODS`; called, it gives float (N, h, w), rectified.

    Its own scaling of each map to 0..1 makes maps without evidence look like any other.
    """
    import pytorch_grad_cam  # takes seconds

    class Raw(getattr(pytorch_grad_cam, METHODS[name])):
        def compute_cam_per_layer(self, images, targets, eigen_smooth) -> np.ndarray:
            seen = self.activations_and_grads
            cells = seen.activations[0].numpy()
            gradients = seen.gradients[0].numpy() if seen.gradients else None
            seen.release()  # else each pass of ScoreCAM is kept
            layer = self.target_layers[0]
            return self.get_cam_image(images, layer, targets, cells, gradients, eigen_smooth)

        def aggregate_multi_layers(self, cells: np.ndarray) -> np.ndarray:
            return np.maximum(cells, 0)

        def save_activation(self, module, args, output) -> None:  # of AblationCAM
            self.activations = output.clone()  # a later layer may work in place

    if name == "eigencam":
        Raw.get_cam_image = _first_component
    return Raw


def _first_component(self, images, layer, targets, cells, gradients, eigen_smooth) -> np.ndarray:
    """EigenCAM (Muhammad and Yeasin 2020), by a thin decomposition and with a fixed sign.

    The library's makes a matrix of cells x cells, 2 GB for cnn2, and its sign is arbitrary.
    That of the largest value here: Eq. 13 of Seg-Eigen-CAM (Chung and Ying 2025).
    """
    flat = np.nan_to_num(cells.reshape(*cells.shape[:2], -1).swapaxes(1, 2))
    flat = flat - flat.mean(1, keepdims=True)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    maps = (flat @ directions[:, 0, :, None])[..., 0]
    flip = np.abs(maps.min(1)) > np.abs(maps.max(1))
    return np.where(flip[:, None], -maps, maps).reshape(-1, *cells.shape[2:])


class Logit:
    """What is explained of one image: the logit of a class, plus a constant.

    Args:
        index: The class.
        shift: The constant.
    """

    def __init__(self, index: int, shift: float = 0.0) -> None:
        self.index, self.shift = index, shift

    def __call__(self, logits: Tensor) -> Tensor:
        return logits[self.index] + self.shift


class Ablated(nn.Module):
    """Stands in for a layer in AblationCAM: its output without one channel, another each copy.

    Set to 0, as in the paper (Desai and Ramaswamy 2020). The library's own one takes off 1e7
    where values may be negative, and what follows then saturates.

    Args:
        layout: As in `Place`.
    """

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.axis = 0 if layout == "NCHW" else -1

    def activations_to_be_ablated(self, cells: np.ndarray, ratio: float) -> np.ndarray:
        self.indices = np.arange(len(cells))
        return self.indices

    def set_next_batch(self, input_batch_index, activations, num_channels_to_ablate) -> None:
        self.output = torch.stack([activations[input_batch_index]] * num_channels_to_ablate)

    def forward(self, _: Tensor) -> Tensor:
        output = self.output.clone()
        for copy, index in zip(output, self.indices.tolist(), strict=False):
            copy.select(self.axis, index).zero_()
        return output
