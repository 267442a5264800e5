"""Which part of a network answers: its head. All the rest is the backbone."""

import itertools

from torch import nn

from detector.errors import UserError


def head_names(network: nn.Module) -> tuple[str, ...]:
    """Dotted names of the modules that are the head; several where several answer.

    Of cnn2, cnn3 and cnn6 that is all dense layers, `classifier`; of timm networks, the last
    layer alone: what `get_classifier()` gives. `in_head` tells which weights are theirs.

    Raises:
        UserError: None is known for this network.
    """
    found = network.get_classifier() if hasattr(network, "get_classifier") else ()
    found = found if isinstance(found, (tuple, list)) else (found,)
    names = [name for name, module in network.named_modules() if any(module is f for f in found)]
    if not names or not any(True for module in found for _ in module.parameters()):
        raise UserError(
            f"{type(network).__name__} names no head (get_classifier()): model.pretrained=false,"
            " init_from=null, model.freeze=none, optimizer.head_lr=null and"
            " optimizer.layer_decay=1.0 do without"
        )
    return tuple(names)


def in_head(name: str, heads: tuple[str, ...]) -> bool:
    """Whether a module, parameter or buffer of this dotted name belongs to one of the heads."""
    return any(name == head or name.startswith(f"{head}.") for head in heads)


class Backbone:
    """All of a network but its head, to be frozen and thawed.

    Frozen, it is what it would be in a finished network: no weight gets a gradient, batch norms
    keep their running statistics, dropout and stochastic depth are off. The dropout between the
    last frozen weights and the head belongs to the head, and stays on.

    Args:
        network: Stays as it is until `freeze`.

    Raises:
        UserError: The network names no head.
    """

    def __init__(self, network: nn.Module) -> None:
        heads = head_names(network)
        self.weights = [
            weight
            for name, weight in network.named_parameters()
            if weight.requires_grad and not in_head(name, heads)
        ]
        live = _above(heads) | _beside(network, heads)
        self.modules = [
            module
            for name, module in network.named_modules()
            if not in_head(name, heads) and name not in live
        ]

    def require_grad(self, wanted: bool) -> None:
        """Switch gradients on or off, and nothing else."""
        for weight in self.weights:
            weight.requires_grad_(wanted)
            if not wanted:
                weight.grad = None  # of a step before: an optimizer would go on applying it

    def freeze(self) -> None:
        """Neither weights nor running statistics move from now on."""
        self.require_grad(False)
        for module in self.modules:
            module.training = False

    def thaw(self) -> None:
        """All of it is trained from now on."""
        self.require_grad(True)
        for module in self.modules:
            module.training = True


def _above(heads: tuple[str, ...]) -> set[str]:
    """Modules that hold a head; some timm networks call dropout there, by their own mode."""
    parts = [head.split(".") for head in heads]
    return {".".join(each[:n]) for each in parts for n in range(len(each))}


def _beside(network: nn.Module, heads: tuple[str, ...]) -> set[str]:
    """Modules without weights that come right before a head, such as its dropout."""
    found = set()
    for place in itertools.chain(heads, _above(heads) - {""}):
        parent, _, own = place.rpartition(".")
        siblings = list(network.get_submodule(parent).named_children())
        before = siblings[: [name for name, _ in siblings].index(own)]
        for name, module in reversed(before):
            if module.state_dict():
                break
            inside = (f"{name}.{below}".rstrip(".") for below, _ in module.named_modules())
            found |= {f"{parent}.{each}".lstrip(".") for each in inside}
    return found
