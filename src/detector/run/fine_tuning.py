"""Options for fine-tuning that a training used, in words."""

from collections.abc import Mapping

from detector.rules import ADDED, flat


def in_words(config: Mapping) -> list[str]:
    """What sets this training apart from a plain one; empty where nothing does.

    Args:
        config: Of a training, plain; of an older version, it may lack any of these.
    """
    given = ADDED | {key: value for key, value in flat(config).items() if value is not None}
    freeze, layers = given["model.freeze"], given["optimizer.layer_decay"]
    first = "epoch" if freeze == 1 else f"{freeze} epochs"
    said = {
        "backbone frozen": freeze == "backbone",
        f"backbone frozen in the first {first}": isinstance(freeze, int),
        f"learning rate of the head {given.get('optimizer.head_lr')}": "optimizer.head_lr" in given,
        f"each layer learns at {layers} times the rate of the one above it": layers != 1,
        f"weight decay {given.get('optimizer.weight_decay')}": given.get("optimizer.weight_decay"),
        f"labels smoothed by {given['loss.label_smoothing']}": given["loss.label_smoothing"],
        f"mixup with alpha {given['loss.mixup']}": given["loss.mixup"],
        f"a part head beside fake or real, its loss weighted by {given['loss.parts']:g}": given[
            "model.parts"
        ],
        f"weights averaged over steps (decay {given.get('ema.decay')})": "ema.decay" in given,
    }
    return [words for words, holds in said.items() if holds]
