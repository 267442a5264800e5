"""The card: what a prediction needs beside the weights, as plain data.

It lies in a checkpoint, in the JSON of released weights and in the metadata of an ONNX file, all
under the name `detector`. It may come from a stranger, so nothing in it is taken on trust.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.evaluation.calibration import Calibration

if TYPE_CHECKING:
    from detector.evaluation.gate import Gate

CARD_FORMAT = 1
CLASSES = 2  # the first logits of every network: fake and real; one for each part follows
ALTERED = "the file was altered"
_NEEDED = frozenset({"format", "network", "preprocess", "class_names", "trained_on"})


def make_card(
    network: dict,
    preprocess: Preprocess,
    class_names: Sequence[str],
    trained_on: str,
    part_names: Sequence[str] = (),
) -> dict:
    """What a prediction needs beside the weights, as plain data.

    Args:
        network: `name` and options, as `build_network` takes them.
        preprocess: From bytes to pixels.
        class_names: Names of labels 0 and 1.
        trained_on: Name of the data set.
        part_names: Of the logits after the two of the classes, where there is a part head.
    """
    card = {
        "format": CARD_FORMAT,
        "network": dict(network),
        "preprocess": preprocess.to_dict(),
        "class_names": list(class_names),
        "trained_on": trained_on,
    }
    return card | ({"parts": list(part_names)} if part_names else {})


def check_card(card: object, source: str) -> None:
    """Refuse what is no card of this version.

    Raises:
        KeyError, TypeError: It is none at all.
        UserError: It is one of another version.
    """
    if not isinstance(card, Mapping):
        raise TypeError("no card")
    if card["format"] != CARD_FORMAT:
        raise UserError(
            f"{source} has format {card['format']}, this version of detector reads"
            f" {CARD_FORMAT}: train again, or install the version that wrote it"
        )
    if missing := _NEEDED - set(card):
        raise KeyError(", ".join(sorted(missing)))


@dataclass(frozen=True)
class Card:
    """A card that was read and checked.

    Args:
        network: `name` and options, as `build_network` takes them.
        preprocess: From bytes to pixels.
        class_names: Names of labels 0 and 1.
        trained_on: Name of the data set.
        part_names: Of the logits after the two of the classes.
        calibration: Temperature 1 and threshold .5 where the card has none.
        gate: Tells pictures that are unlike the training's; None without one.
    """

    network: dict
    preprocess: Preprocess
    class_names: tuple[str, ...]
    trained_on: str
    part_names: tuple[str, ...]
    calibration: Calibration
    gate: "Gate | None"

    @property
    def logits(self) -> int:
        """How many the network has."""
        return CLASSES + len(self.part_names)

    @classmethod
    def read(cls, card: Mapping, source: str) -> "Card":
        """From plain data.

        Args:
            card: As `make_card` makes it, with `calibration` and `gate` where they were fitted.
            source: Named in error messages.

        Raises:
            UserError: Some of it is not what detector writes.
        """
        parts = card.get("parts", [])
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise UserError(f"{source}: parts are no list of names; {ALTERED}")
        names = card["class_names"]
        if (
            not isinstance(names, (list, tuple))
            or len(names) != CLASSES
            or not all(isinstance(name, str) for name in names)
        ):
            raise UserError(f"{source}: class_names are not two names; {ALTERED}")
        network = card["network"]
        if not isinstance(network, Mapping) or not isinstance(network.get("name"), str):
            raise UserError(f"{source}: the network has no name; {ALTERED}")
        if not isinstance(card["preprocess"], Mapping):
            raise UserError(f"{source}: preprocess holds no settings; {ALTERED}")
        try:
            preprocess = Preprocess.from_dict(card["preprocess"])
            known = card.get("calibration")
            calibration = Calibration() if known is None else Calibration.from_dict(known)
            gate = card.get("gate")
            if gate is not None:
                from detector.evaluation.gate import Gate

                gate = Gate.from_dict(gate)
        except (UserError, TypeError) as error:
            raise UserError(f"{source}: {error}; {ALTERED}") from error
        return cls(
            dict(network), preprocess, tuple(names),
            str(card["trained_on"]), tuple(parts), calibration, gate,
        )  # fmt: skip
