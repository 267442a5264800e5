"""What each picture of a synthetic set is to be, from the settings alone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from omegaconf import ListConfig, OmegaConf

from detector.data.sources import FACE_PARTS
from detector.errors import UserError
from detector.rules import Rule, check, mapping, number, whole

DIFFICULTIES = ("easy", "mid", "hard")

_share, _ = number(0, 1e6)


def _names(value: object) -> bool:
    names = [value] if isinstance(value, str) else value
    return (
        isinstance(names, (list, tuple, ListConfig))
        and 0 < len(names) == len(set(map(str, names)))
        and all(name in FACE_PARTS for name in names)
    )


def _shares(value: object) -> bool:
    return (
        isinstance(value, (list, tuple, ListConfig))
        and 0 < len(value) <= len(FACE_PARTS)
        and all(map(_share, value))
    )


RULES: dict[str, Rule] = {
    "synthetic": mapping,
    "synthetic.n": whole(2, 10**6),
    "synthetic.size": whole(64, 1024),
    "synthetic.seed": whole(0, 2**32 - 1),
    "synthetic.difficulty": mapping,
    **{f"synthetic.difficulty.{name}": number(0, 1e6) for name in DIFFICULTIES},
    "synthetic.parts": (_names, f"give one or more of {', '.join(FACE_PARTS)}, each once"),
    "synthetic.parts_at_once": (
        _shares,
        f"give 1 to {len(FACE_PARTS)} numbers of at least 0, as [1,1,1,1]",
    ),
}


@dataclass(frozen=True)
class Settings:
    """Everything that a synthetic set depends on, but the renderer's version.

    Args:
        n: Pictures in all; half of them are fake, and of an odd number one more is real.
        size: Side of a picture, in pixels.
        seed: Of the set; no face of one seed is in a set of another.
        difficulty: Share of each of `DIFFICULTIES`; what counts is the ratio.
        parts: Which parts are treated, in the order of `FACE_PARTS`.
        parts_at_once: Shares of pictures with 1, 2, ... parts; as many as `parts`, or fewer.
    """

    n: int
    size: int
    seed: int
    difficulty: dict[str, float]
    parts: tuple[str, ...]
    parts_at_once: tuple[float, ...]


@dataclass(frozen=True)
class Picture:
    """One picture that is to be made.

    Args:
        name: Its path below the set's folder; that of a fake tells difficulty and parts.
        seed: The set's seed, the label (0 is fake) and the number within the class.
        difficulty: One of `DIFFICULTIES`.
        parts: For each of `FACE_PARTS` whether it is cut out and blended in.
    """

    name: str
    seed: tuple[int, int, int]
    difficulty: str
    parts: tuple[bool, ...]

    @property
    def fake(self) -> bool:
        """Whether the parts come from another face; a real gets its own back."""
        return self.seed[1] == 0


def read_settings(given: object) -> Settings:
    """The `synthetic` group of the config, checked.

    Args:
        given: The group, as a mapping.

    Raises:
        UserError: A setting is missing, unknown or out of its range.
    """
    cfg = OmegaConf.create({"synthetic": given})
    check(cfg, RULES)
    known = {key.removeprefix("synthetic.") for key in RULES}
    plain = OmegaConf.to_container(cfg)["synthetic"]
    shares = plain["difficulty"]
    for key in [*plain, *(f"difficulty.{name}" for name in shares)]:
        if key not in known:
            has = ", ".join(sorted(known - {"synthetic"}))
            raise UserError(f"synthetic.{key}: no such setting; synthetic has {has}")
    if not any(shares.values()):
        raise UserError("synthetic.difficulty: give at least one of them a share above 0")
    asked = [plain["parts"]] if isinstance(plain["parts"], str) else plain["parts"]
    at_once = plain["parts_at_once"][: len(asked)]
    if not any(at_once):
        raise UserError(
            f"synthetic.parts_at_once={plain['parts_at_once']}: of the first {len(asked)} numbers,"
            " as many as synthetic.parts has, one has to be above 0"
        )
    return Settings(
        plain["n"],
        plain["size"],
        plain["seed"],
        {name: float(shares[name]) for name in DIFFICULTIES},
        tuple(part for part in FACE_PARTS if part in asked),
        tuple(map(float, at_once)),
    )


def plan(settings: Settings) -> list[Picture]:
    """Every picture of a set: the fakes in the order of their numbers, then the reals.

    Fakes are named as ciplab's are, `easy_107_1011.jpg`: difficulty, number within it, and a
    bit for each of `FACE_PARTS`. The names of reals tell nothing.
    """
    pictures = []
    for label, count in enumerate((settings.n // 2, settings.n - settings.n // 2)):
        running: Counter[str] = Counter()
        for at, (difficulty, chosen) in enumerate(_treatments(count, settings)):
            running[difficulty] += 1
            parts = tuple(part in chosen for part in FACE_PARTS)
            name = (
                f"training_real/real_{at + 1:05d}.jpg"
                if label
                else f"training_fake/{difficulty}_{running[difficulty]}_{bits(parts)}.jpg"
            )
            pictures.append(Picture(name, (settings.seed, label, at), difficulty, parts))
    return pictures


def bits(parts: Sequence[bool]) -> str:
    """As in ciplab's file names: 1011 is all but the viewer's right eye."""
    return "".join("01"[part] for part in parts)


def _treatments(count: int, settings: Settings) -> list[tuple[str, tuple[str, ...]]]:
    """Difficulty and parts of each picture of one class; both classes get the same.

    Difficulties are rounded by largest remainder, then numbers of parts within a difficulty,
    then the parts within a number. What rounding denies one difficulty the next one gets, so
    that numbers and parts come out within one picture over the whole class too.
    """
    rng = np.random.default_rng((settings.seed, 2))  # with 0 and 1 begin the pictures' own
    choices = {}
    for many in range(1, len(settings.parts_at_once) + 1):
        choices[many] = list(combinations(settings.parts, many))
        rng.shuffle(choices[many])  # or the left eye would gain whenever something is rounded
    by_difficulty = _quotas(list(settings.difficulty.values()), count)
    owed_many = np.zeros(len(choices))
    owed_choice = {many: np.zeros(len(chosen)) for many, chosen in choices.items()}
    made = []
    for difficulty, here in zip(
        settings.difficulty, largest_remainder(by_difficulty, count), strict=True
    ):
        owed_many += _quotas(settings.parts_at_once, here)
        with_many = largest_remainder(owed_many, here)
        owed_many -= with_many
        for (many, chosen), here_many in zip(choices.items(), with_many, strict=True):
            owed_choice[many] += here_many / len(chosen)
            with_choice = largest_remainder(owed_choice[many], here_many)
            owed_choice[many] -= with_choice
            for parts, times in zip(chosen, with_choice, strict=True):
                made += [(difficulty, parts)] * int(times)
    return [made[at] for at in rng.permutation(count)]


def _quotas(shares: Sequence[float], count: int) -> np.ndarray:
    return np.array(shares) / math.fsum(shares) * count


def largest_remainder(quotas: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers in place of quotas, by Hamilton's method.

    Args:
        quotas: float64 (N); their sum is `count`. One below 0 gets nothing.
        count: What is dealt out, one at a time to whoever lacks most.

    Returns:
        int64 (N), with the sum `count`; of equal remainders the first ones are rounded up.
    """
    dealt = np.zeros(len(quotas), np.int64)
    for _ in range(count):
        dealt[np.argmax(quotas - dealt)] += 1
    return dealt
