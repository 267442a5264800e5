"""Entries of a comparison on common ground: the same images, and a name for each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detector.errors import UserError
from detector.evaluation.answers import VARIED, Answers
from detector.evaluation.averaged import Network
from detector.evaluation.run_files import differing

MOST = 3  # settings in a name; beyond that the time of the run says more


@dataclass(frozen=True)
class Common:
    """The images that all entries answer, and their answers.

    Args:
        labels: (N,) int, 0 for fake, 1 for real, of the images of all folds, by path.
        groups: (N,) str.
        networks: Of each entry, by name.
    """

    labels: np.ndarray
    groups: np.ndarray
    networks: dict[str, list[Network]]


def align(entries: Mapping[str, Sequence[Answers]]) -> Common:
    """Brings entries to one order of images.

    Args:
        entries: Answers of each, by name. Several folds are matched by the seed of the split
            and the fold; a single one only by its images.

    Raises:
        UserError: Sets, folds, images, labels or groups differ; counts them, and names one.
    """
    first_name, first = next(iter(entries.items()))
    reference = {one.split: one for one in reversed(first)}
    for name, answers in entries.items():
        _same_set(first[0], answers[0], first_name, name)
        splits = {one.split for one in answers}
        single = len(splits) == len(reference) == 1
        if not single and splits != set(reference):
            raise UserError(
                f"{first_name} has {_folds(set(reference))}, {name} has {_folds(splits)}: compare"
                " sweeps over the same data.split.folds, folds and data.split.seed"
            )
        for one in answers:
            other = first[0] if single else reference[one.split]
            if one is not other:
                _same(other, one, first_name, name)
    paths, labels, groups = (
        np.concatenate([getattr(one, key) for one in reference.values()])
        for key in ("paths", "labels", "groups")
    )
    every, at, member = np.unique(paths, return_index=True, return_inverse=True)
    labels_of, groups_of = labels[at], groups[at]
    unlike = (labels_of[member] != labels) | (groups_of[member] != groups)
    if unlike.any():
        raise UserError(
            f"the folds of {first_name} disagree on the label or group of {unlike.sum()} images,"
            f" such as {paths[unlike][0]}: train them again on one set"
        )
    networks = {
        name: [
            Network(np.searchsorted(every, one.paths), one.p_fake, one.threshold, one.seed)
            for one in answers
        ]
        for name, answers in entries.items()
    }
    return Common(labels_of, groups_of, networks)


def _same_set(a: Answers, b: Answers, name_a: str, name_b: str) -> None:
    if (a.set, a.class_names) != (b.set, b.class_names):
        sets = [f"{one.set} ({' and '.join(one.class_names)})" for one in (a, b)]
        raise UserError(
            f"{name_a} answers images of {sets[0]}, {name_b} of {sets[1]}: evaluate both on one"
            " set with python -m detector.evaluate"
        )


def _same(a: Answers, b: Answers, name_a: str, name_b: str) -> None:
    if name_a == name_b:
        name_a, name_b = (f"{one.network} of {one.folder.name}" for one in (a, b))
    fold = "" if a.split[1] is None else f" of fold {a.split[1]}"
    alone = np.setxor1d(a.paths, b.paths)
    if len(alone):
        total = len(np.union1d(a.paths, b.paths))
        raise UserError(
            f"{name_a} and {name_b} answer other images{fold}: {len(alone)} of {total} are in one"
            f" only, such as {alone[0]}; compare the same part of the same split, or evaluate"
            " both on one set"
        )
    for what, hint in (("labels", "the set has changed"), ("groups", "data.near_copies differs")):
        unlike = getattr(a, what) != getattr(b, what)
        if unlike.any():
            raise UserError(
                f"{name_a} and {name_b} have other {what}{fold}: of {unlike.sum()} of"
                f" {len(unlike)} images, such as {a.paths[unlike][0]}; {hint}, so evaluate or"
                " train one of them again"
            )


def _folds(splits: set[tuple]) -> str:
    numbers = sorted({fold for _, fold in splits if fold is not None})
    seeds = sorted({str(seed) for seed, _ in splits})
    named = f"folds {', '.join(map(str, numbers))}" if numbers else "no folds"
    return f"{named} (data.split.seed={','.join(seeds)})"


def name_entries(entries: Sequence[tuple[str, Sequence[Answers]]]) -> list[str]:
    """The shortest name that tells each entry from the others.

    `<data>-<model>`; where that is the same, the settings that differ, or the time of the run.

    Args:
        entries: Name of the folder and answers of each.
    """
    bases = [answers[0].network for _, answers in entries]
    told: list[list[str]] = [[] for _ in entries]
    for base in {name for name, times in Counter(bases).items() if times > 1}:
        members = [at for at, name in enumerate(bases) if name == base]
        # What a sweep varies itself does not tell it from the others.
        passed = VARIED if any(len(entries[at][1]) > 1 for at in members) else ()
        settings = [
            {k: v for k, v in entries[at][1][0].settings.items() if k not in passed}
            for at in members
        ]
        keys = list(differing(settings)) if all(settings) else []
        if len(keys) <= MOST:
            called = _called(keys, settings[0])
            for at, of_one in zip(members, settings, strict=True):
                told[at] = [f"{called[key]}={_short(of_one.get(key))}" for key in keys]
    times = Counter((base, *words) for base, words in zip(bases, told, strict=True))
    names = []
    for base, words, (folder, _) in zip(bases, told, entries, strict=True):
        words = [*words, folder] if times[base, *words] > 1 else words
        name = f"{base} ({', '.join(words)})" if words else base
        names.append(f"{name} #{1 + names.count(name)}" if name in names else name)
    return names


def _called(keys: Sequence[str], settings: Mapping[str, object]) -> dict[str, str]:
    """The last word of each setting, all of it where that could be another one."""
    last = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys}
    times = Counter(last.values())
    return {
        key: key if times[word] > 1 or (word in settings and word != key) else word
        for key, word in last.items()
    }


def _short(value: object) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"
