"""The weights that a training begins with."""

import logging
from collections.abc import Mapping

from torch import nn

from detector.errors import UserError
from detector.models.backbone import timm_options
from detector.models.head import head_names
from detector.models.pretrained import Pretrained, take_body
from detector.predictor import read_checkpoint

log = logging.getLogger(__name__)

RANDOM = "random"


def begin_with(
    network: nn.Module,
    args: Mapping,
    *,
    size: int,
    classes: int,
    found: Pretrained | None,
    init_from: str | None,
) -> str:
    """Puts weights of an earlier training, here or elsewhere, into all but the head.

    Args:
        network: Random weights; changed in place.
        args: `name` and options that it was built with.
        size: Side of its input, in pixels.
        classes: Number of its logits.
        found: Of another project.
        init_from: A checkpoint of this one.

    Returns:
        Where the weights are from, in words.

    Raises:
        UserError: They cannot be read, or are of another network.
    """
    if init_from is not None:
        checkpoint = read_checkpoint(init_from)
        card = checkpoint["detector"]
        theirs, ours = card["network"].get("name"), args["name"]
        if theirs != ours:
            raise UserError(f"init_from={init_from} is a {theirs}, this network a {ours}")
        take_body(network, checkpoint["state_dict"], f"init_from={init_from}")
        origin = f"all but the head from a network trained on {card['trained_on']}"
    elif found is not None:
        options = {key: value for key, value in args.items() if key != "name"}
        options = timm_options(found.name, size, options) | {"num_classes": classes}
        take_body(network, found.state(network, options), f"model.pretrained: {found.origin}")
        _quiet_head(network)
        origin = f"all but the head from {found.origin}"
    else:
        return RANDOM
    log.info("weights: %s", origin)
    return origin


def warn_of_the_beginning(
    card: Mapping, theirs: Mapping | None, weights: str, freeze: str | int
) -> None:
    """Logs what a training that begins like this can hardly have meant.

    Args:
        card: Of the training, with its split.
        theirs: Of the checkpoint that it begins with.
        weights: As `begin_with` gives it.
        freeze: `model.freeze`.
    """
    if weights == RANDOM and freeze != "none":
        log.warning(
            "model.freeze=%s keeps random weights as they are: model.pretrained= or init_from="
            " give weights that have learnt something", freeze,
        )  # fmt: skip
    same = theirs is not None and theirs["trained_on"] == card["trained_on"]
    if same and theirs.get("split") != card["split"]:
        log.warning(
            "init_from was trained on another split of %s: it may have seen images of val and"
            " test, whose scores then say too much", card["trained_on"],
        )  # fmt: skip


def _quiet_head(network: nn.Module) -> None:
    """A head that says next to nothing yet.

    The published features are large, and some of timm's heads begin with weights of .7: the first
    steps would undo these logits, and with them what the backbone knows.
    """
    for name in head_names(network):
        head = network.get_submodule(name)
        if isinstance(head, nn.Linear):
            nn.init.trunc_normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
