"""Rules that settings have to keep, checked before anything is read or trained."""

import math
from collections.abc import Callable, Mapping, Sequence

from omegaconf import DictConfig, ListConfig, OmegaConf

from detector.errors import UserError

# What a setting was before there was one, where that is not null: trainings of older versions
# go on, and are compared, as if they had named it.
ADDED = {
    "data.balance": "none",
    "data.crop_margin": 0.25,  # which does nothing without data.crop
    "data.crop_align": False,
    "augment.device": "auto",
    "trainer.compile": "auto",
    "trainer.keep_memory": True,
    "model.pretrained": False,
    "embeddings.views": 4,  # which does nothing where the backbone learns
    "model.freeze": "none",
    "optimizer.layer_decay": 1.0,
    "loss.label_smoothing": 0,
    "loss.mixup": 0,
    "model.parts": False,
    "loss.parts": 1.0,  # which does nothing without the part head
    "trainer.strategy": "single",
    "trainer.devices": 1,
}

FOLLOWS = "weights"  # of a preprocessing setting: as the weights were trained

Rule = tuple[Callable[[object], bool], str]


def whole(low: int, high: float = math.inf) -> Rule:
    """A whole number between `low` and `high`."""
    upto = "" if high == math.inf else f" and at most {high}"
    return (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high,
        f"give a whole number of at least {low}{upto}",
    )


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Rule:
    """A finite number of at least `low` (or above it), and at most `high`."""

    def keeps(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return math.isfinite(value) and (value > low if above else value >= low) and value <= high

    upto = "" if high == math.inf else f" and at most {high:g}"
    return keeps, f"give a number {'above' if above else 'of at least'} {low:g}{upto}"


def one_of(*names: object) -> Rule:
    """One of some names; None is written null."""
    shown = ", ".join("null" if name is None else str(name) for name in names)
    return lambda v: not isinstance(v, bool) and v in names, f"choose one of {shown}"


def either(*rules: Rule) -> Rule:
    """What keeps any of several rules."""
    return lambda v: any(keeps(v) for keeps, _ in rules), ", or ".join(says for _, says in rules)


flag: Rule = (lambda v: isinstance(v, bool), "give true or false")
text: Rule = (lambda v: isinstance(v, str) and bool(v), "give a name or a path")
nothing: Rule = (lambda v: v is None, "null")
mapping: Rule = (lambda v: isinstance(v, (Mapping, DictConfig)), "give settings, as in conf/")
texts: Rule = (
    lambda v: (
        isinstance(v, (Sequence, ListConfig))
        and not isinstance(v, str)
        and all(isinstance(item, str) for item in v)
    ),
    "give a list of names, as [a,b]",
)
mappings: Rule = (
    lambda v: (
        isinstance(v, (Sequence, ListConfig))
        and not isinstance(v, str)
        and all(isinstance(item, (Mapping, DictConfig)) for item in v)
    ),
    "give a list of settings, as in conf/",
)


def check(cfg: DictConfig, rules: Mapping[str, Rule], prefix: str = "") -> None:
    """Refuse the first setting that breaks its rule.

    Args:
        cfg: A config, or a group of it.
        rules: By the setting's path below `cfg`; groups come before what is in them.
        prefix: What stands before the path on the command line, such as `data.`.

    Raises:
        UserError: Names the setting, its value and what it may be.
        MissingMandatoryValue: A setting without a default was not given.
    """
    for key, (keeps, says) in rules.items():
        value = OmegaConf.select(cfg, key, throw_on_missing=True)
        if not keeps(value):
            shown = "null" if value is None else value
            raise UserError(f"{prefix}{key}={shown}: {says}")


def flat(settings: Mapping, above: str = "") -> dict[str, object]:
    """Settings by dotted name, lists as they are.

    Args:
        settings: A config or a part of it, plain or not; without what cannot be resolved.
        above: What each name begins with, its dot included.
    """
    leaves: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{above}{key}.")
        else:
            leaves[f"{above}{key}"] = value
    return leaves
