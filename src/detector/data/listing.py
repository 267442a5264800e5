"""What an index function finds: the files of a set, and what their names tell."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

PAIR = ("fake", "real")


@dataclass(frozen=True, slots=True)
class Item:
    """One image file of a set.

    Args:
        path: The file, absolute.
        name: Its path below `Listing.root`, with forward slashes: the same everywhere.
        label: Index into `Listing.class_names`; 0 is fake.
        split: `train`, `val` or `test` where the set brings its own splits, else empty.
        extra: What the set tells beyond the label, in its file names or beside them; of
            the same keys for each item of a set, and of what JSON keeps as it is.
    """

    path: Path
    name: str
    label: int
    split: str = ""
    extra: dict[str, str | int | float | list] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Listing:
    """The files of a set, sorted by name.

    Args:
        root: The folder where the set's layout begins, absolute.
        items: All images.
        class_names: Names of label 0, which counts as fake, and of label 1.
        own_splits: Which of train, val and test the set brings, in this order. Empty:
            none. Without `val`, validation has to be taken out of the train items.
        notes: What a user should know of these files, a line each; `load_set` warns of
            them once, however often a set is listed.
    """

    root: Path
    items: tuple[Item, ...]
    class_names: tuple[str, str] = PAIR
    own_splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each class, by class name."""
        labels = Counter(item.label for item in self.items)
        return {name: labels[label] for label, name in enumerate(self.class_names)}
