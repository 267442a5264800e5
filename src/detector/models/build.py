"""From a name and plain numbers to a network.

A checkpoint stores just these, so that it can be rebuilt from data alone: nothing
in a file that a stranger made can name code to run.
"""

import inspect

from torch import nn

from detector.errors import UserError
from detector.models.cnn import NETWORKS


def build_network(name: str, *, size: int, classes: int, **options) -> nn.Module:
    """Build one of the small networks, or any timm network, with random weights.

    Args:
        name: `cnn2`, `cnn3`, `cnn6`, or a name that timm knows.
        size: Side of the square input, in pixels.
        classes: Number of logits.
        options: The network's own arguments, such as `dropout`.

    Raises:
        UserError: The name or an option is unknown, or the size is too small.
    """
    if not 16 <= size <= 4096:
        raise UserError(f"model.preprocess.size={size}: give a side between 16 and 4096 pixels")
    if not isinstance(name, str):
        raise UserError(f"model.net.name={name}: give the name of a network")
    if name not in NETWORKS:
        from detector.models.backbone import timm_network  # timm takes a second to import

        return timm_network(name, size, classes, **options)
    network = NETWORKS[name]
    valid = [p for p in inspect.signature(network).parameters if p not in ("size", "classes")]
    if set(options) != set(valid):
        raise UserError(
            f"model.net of {name} takes exactly {', '.join(valid)}; got {', '.join(options)}"
        )
    for key, value in options.items():
        fine = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
        if key.endswith("dropout") and not fine:
            raise UserError(f"model.net.{key}={value}: dropout must be at least 0 and below 1")
    return network(size, classes, **options)
