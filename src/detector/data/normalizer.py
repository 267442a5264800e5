"""The same last steps for every file: one size, one JPEG quality.

Real and fake files often went through different encoders, and the pixels keep traces of that,
which a network can learn instead of faces. After this, each picture is square, of one side, and
has been a JPEG of one quality, whatever it was before. Traces of what came before are weaker,
not gone: `detector.evaluation.probe` measures how much is left.

- The largest centred square is kept. Stretching, or bars at the sides, would show the shape
  that a picture had; what the cut leaves of the shape is its framing.
- Lanczos with Pillow, which averages over the source when it shrinks. Choose a side below that of
  every picture: shrinking is what removes the traces of ciplab's tables, a second JPEG of the same
  size does not (experiments/2026-11-21-normalizer), and a picture that was enlarged shows that.
- JPEG with libjpeg's own tables and 4:2:0 colour, encoded and decoded in memory.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from detector.data.decode import decode
from detector.errors import UserError

SIDES, QUALITIES = (16, 4096), (1, 100)
SAYS = (
    "give settings such as {{size:256,quality:75}}, with a size of {} to {} pixels and a JPEG"
    " quality of {} to {}"
).format(*SIDES, *QUALITIES)


@dataclass(frozen=True)
class Normalizer:
    """Settings of the normalizer; calling it applies it.

    Args:
        size: Side of the square that every picture becomes, in pixels.
        quality: Of the JPEG that it then goes through.

    Raises:
        UserError: A setting is out of range.
    """

    size: int
    quality: int

    def __post_init__(self) -> None:
        for value, (low, high) in ((self.size, SIDES), (self.quality, QUALITIES)):
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UserError(f"data.normalize={asdict(self)}: {SAYS}")

    @classmethod
    def from_dict(cls, settings: object) -> "Normalizer":
        """Settings from plain data, such as a config or a checkpoint.

        Raises:
            UserError: A setting is missing, unknown or out of range.
        """
        if not isinstance(settings, Mapping) or set(settings) != {"size", "quality"}:
            raise UserError(f"data.normalize={settings}: {SAYS}")
        return cls(settings["size"], settings["quality"])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Cut, resize, encode and decode one picture.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            uint8 (size, size, 3), RGB.
        """
        height, width = image.shape[:2]
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2  # whole pixels: half ones would blur
        # Cut before: Pillow's own box would let in what lies beside it.
        square = Image.fromarray(image[top : top + side, left : left + side])
        picture = square.resize((self.size, self.size), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=self.quality, subsampling="4:2:0")
        return decode(stream.getvalue(), max_pixels=self.size**2)


def fits(settings: object) -> bool:
    """Whether a config's value makes a Normalizer."""
    try:
        Normalizer.from_dict(settings)
    except UserError:
        return False
    return True
