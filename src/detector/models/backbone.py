"""Any timm network by name."""

import difflib
from collections.abc import Mapping

import timm
from torch import nn

from detector.errors import UserError


def timm_options(name: str, size: int, options: Mapping) -> dict:
    """Arguments of `timm.create_model`, with the size where the network asks for it."""
    config = timm.get_pretrained_cfg(name)
    # Vision transformers size their position embedding by it.
    fixed = config is not None and config.fixed_input_size
    return dict(options) | ({"img_size": size} if fixed else {})


def timm_network(name: str, size: int, classes: int, **options) -> nn.Module:
    """Build a timm network with random weights.

    Args:
        name: As `timm.list_models()` has it, e.g. `resnet18`.
        size: Side of the square input, in pixels; passed on to networks of a fixed size.
        classes: Number of logits.
        options: Further arguments of `timm.create_model`, e.g. `drop_rate`.

    Raises:
        UserError: timm knows no such network, or refuses the options.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise UserError(f"model.net.name={name}: timm has no such network; {hint}")
    files = [key for key in options if key == "checkpoint_path" or key.startswith("pretrained")]
    if files:  # a checkpoint's card comes through here: it must not make timm open a file
        raise UserError(f"model.net.{files[0]}: weights from files are no option of a network")
    options = timm_options(name, size, options)
    try:
        return timm.create_model(name, pretrained=False, num_classes=classes, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(
            f"model.net.name={name} cannot be built at {size} px with {options}: {error}"
        ) from error
