"""Faces that this program renders itself, to try the page with: no photograph of anybody."""

from dataclasses import dataclass

from detector.data.sources import FACE_PARTS
from detector.explain.lookup import PART_NAMES

SEED = 2_147_483_659  # a set of this seed would share their faces; no one is made by default
WANTED = (  # difficulty, and the parts of another face; none for a real one
    ("easy", ("mouth",)),
    ("easy", ()),
    ("mid", ("eye_left", "nose")),
    ("mid", ()),
    ("hard", ("eye_left", "eye_right")),
    ("easy", ("nose", "mouth")),
)


@dataclass(frozen=True)
class Example:
    """One rendered face.

    Args:
        name: As a file's.
        jpeg: The file.
        truth: What is known of it, in a sentence.
    """

    name: str
    jpeg: bytes
    truth: str


def render_examples(size: int) -> list[Example]:
    """Draws all of them, .05 s each; the same bytes every time.

    Args:
        size: Side, pixels: that of the faces that a network has seen.
    """
    from detector.data.synthetic.portrait import portrait

    made = []
    for at, (difficulty, swapped) in enumerate(WANTED):
        treated = swapped or ("eye_left", "mouth")  # a real gets its own parts back
        parts = tuple(part in treated for part in FACE_PARTS)
        label = int(not swapped)
        face = portrait(
            (SEED, label, at), size=size, difficulty=difficulty, parts=parts, fake=bool(swapped)
        )
        names = " and ".join(f"the {PART_NAMES[part]}" for part in swapped)
        what = f"fake: {names} came from another face" if swapped else "real: no part was exchanged"
        truth = f"Rendered by this program. The truth about it is {what}."
        made.append(Example(f"example-{at + 1}.jpg", face.jpeg, truth))
    return made
