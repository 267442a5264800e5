"""The one way from a file's bytes to the pixels that a network sees.

Training, evaluation, prediction and whatever is exported all call it. It needs
NumPy and Pillow alone (to cut out faces, OpenCV and YuNet too), and its settings are stored with
the weights.
"""

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields, replace

import numpy as np
from PIL import Image

from detector.data.crop import Cut, FaceCrop
from detector.data.decode import decode
from detector.data.normalizer import Normalizer
from detector.errors import UserError

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_FITS = ("crop", "squash", "pad")
STRIP = 1 << 20  # pixels of a padded picture that are in memory at once, or a row
LATER = ("normalizer", "crop")  # which older checkpoints lack


@dataclass(frozen=True)
class Preprocess:
    """Settings of the preprocessing; calling it applies it.

    Args:
        size: Side S of the square result, in pixels.
        fit: How a picture that is not square becomes so: `crop` the centre, `squash`
            it, or `pad` it with black.
        interpolation: `nearest`, `bilinear`, `bicubic` or `lanczos`; Pillow's, which
            average over the source when they shrink it.
        mean: Per channel, subtracted after scaling to 0..1 (in the network's module).
        std: Per channel, divided by after that.
        max_pixels: Pictures with more are refused before they are decoded.
        normalizer: Applied to each picture before it is resized; None for none. A mapping with
            its settings will do. It comes from `data.normalize`.
        crop: Cuts the largest face out before all of that; None for whole pictures. A mapping with
            its settings will do. It comes from `data.crop`.

    Raises:
        UserError: A setting is out of range.
    """

    size: int
    fit: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_pixels: int
    normalizer: Normalizer | None = None
    crop: FaceCrop | None = None

    def __post_init__(self) -> None:
        def check(fine: bool, name: str, must: str) -> None:
            if not fine:
                raise UserError(f"model.preprocess.{name}={getattr(self, name)}: {must}")

        def triple(values: tuple, low: float) -> bool:
            return len(values) == 3 and all(
                isinstance(v, (int, float)) and low <= v < 1e3 for v in values
            )

        for name in ("mean", "std"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, (list, tuple)) else ())
        whole = isinstance(self.size, int) and not isinstance(self.size, bool)
        check(whole and 16 <= self.size <= 4096, "size", "give a side between 16 and 4096 pixels")
        for name, known in (("fit", _FITS), ("interpolation", tuple(_FILTERS))):
            check(getattr(self, name) in known, name, f"choose one of {', '.join(known)}")
        check(triple(self.mean, -1e3), "mean", "give three numbers, one per channel")
        check(triple(self.std, 1e-6), "std", "give three numbers above 0, one per channel")
        check(
            isinstance(self.max_pixels, int) and self.max_pixels > 0,
            "max_pixels",
            "must be above 0",
        )
        if self.normalizer is not None:
            if not isinstance(self.normalizer, Normalizer):
                object.__setattr__(self, "normalizer", Normalizer.from_dict(self.normalizer))
            must = "with data.normalize it must be crop, as the normalizer cuts pictures square"
            check(self.fit == "crop", "fit", must)
        if self.crop is not None and not isinstance(self.crop, FaceCrop):
            object.__setattr__(self, "crop", FaceCrop.from_dict(self.crop))

    @classmethod
    def from_dict(cls, settings: Mapping) -> "Preprocess":
        """Settings from plain data, such as a config or a checkpoint.

        Without `normalizer` or `crop`, which older checkpoints lack, there is none.

        Raises:
            UserError: A setting is missing, unknown or out of range.
        """
        names = [field.name for field in fields(cls)]
        if set(settings) | set(LATER) != set(names):
            raise UserError(
                f"preprocessing takes {', '.join(names)}; got {', '.join(map(str, settings))}"
            )
        return cls(**{str(key): value for key, value in settings.items()})

    @classmethod
    def of_config(cls, settings: Mapping, data: Mapping) -> "Preprocess":
        """Settings of a network's input with what the config's `data` adds to them.

        They stand there and not in each conf/model/*.yaml, where a new network's could lack a line.

        Args:
            settings: `model.preprocess`, plain.
            data: The `data` group, plain.

        Raises:
            UserError: As `from_dict`.
        """
        own = {"normalizer": data.get("normalize"), "crop": FaceCrop.of_config(data)}
        return cls.from_dict({**settings, **own})

    def to_dict(self) -> dict:
        """Plain data; `normalizer` and `crop` only where there is one."""
        plain = asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        for name in LATER:
            if plain[name] is None:
                del plain[name]  # as older checkpoints have it, which thus can be resumed
        return plain

    def pixels_key(self) -> tuple:
        """What the uint8 result depends on; `mean` and `std` come later."""
        key = (self.size, self.fit, self.interpolation, self.max_pixels)
        key = key if self.normalizer is None else (*key, astuple(self.normalizer))
        return key if self.crop is None else (*key, "crop", astuple(self.crop))

    @property
    def uncropped(self) -> "Preprocess":
        """What happens to a piece that was cut out already."""
        return replace(self, crop=None)

    def cut(self, image: np.ndarray) -> Cut:
        """The piece of a decoded picture that becomes the input: the largest face, or all of it.

        Args:
            image: uint8 (H, W, 3).
        """
        return Cut.whole(image) if self.crop is None else self.crop.largest(image)

    def __call__(self, data: bytes) -> np.ndarray:
        """Decode, and as far as set: cut the face out, normalize the file's traces away; resize.

        Args:
            data: A whole image file.

        Returns:
            uint8 (S, S, 3), RGB.

        Raises:
            DecodeError: The bytes are no readable picture.
        """
        return self.resize(decode(data, max_pixels=self.max_pixels))

    def resize(self, image: np.ndarray) -> np.ndarray:
        """From a decoded picture on: the crop and the normalizer, if there are any, then the size.

        Args:
            image: uint8 (H, W, 3).

        Returns:
            uint8 (S, S, 3).
        """
        return self.resize_cut(self.cut(image).image)

    def resize_cut(self, image: np.ndarray) -> np.ndarray:
        """`resize` of a piece that was cut out already, such as one of `crop.cuts`.

        Args:
            image: uint8 (H, W, 3).

        Returns:
            uint8 (S, S, 3).
        """
        if self.normalizer is not None:
            image = self.normalizer(image)
        height, width = image.shape[:2]
        if (height, width) == (self.size, self.size):
            return image
        if self.fit == "pad" and height != width:
            return _padded(image, self.size, _FILTERS[self.interpolation])
        picture, box = Image.fromarray(image), None
        if self.fit == "crop" and height != width:
            side = min(height, width)
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
        return np.array(picture.resize((self.size, self.size), _FILTERS[self.interpolation], box))

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """What the network is fed.

        Args:
            images: uint8 (N, S, S, 3).

        Returns:
            float32 (N, 3, S, S), (x / 255 - mean) / std; in memory the channels lie last, as
            convolutions prefer them.
        """
        n, height, width, channels = images.shape
        # One long row instead of many of three numbers, in place: five times as fast.
        mean, std = (np.tile(np.asarray(v, np.float32), width) for v in (self.mean, self.std))
        scaled = images.astype(np.float32).reshape(n, height, width * channels)
        scaled /= np.float32(255)
        scaled -= mean
        scaled /= std
        return scaled.reshape(images.shape).transpose(0, 3, 1, 2)


def _padded(image: np.ndarray, size: int, method: Image.Resampling) -> np.ndarray:
    """The picture in the middle of a black square, resized, without the square in memory.

    A strip of 65,535 x 100 pixels would take 13 GB of it. Pillow resizes along rows first and then
    along columns, with whole numbers between, so that rows may be resized a few at a time.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    rows = np.zeros((side, size, 3), np.uint8)
    few = max(1, STRIP // side)
    for at in range(0, height, few):
        piece = Image.fromarray(image[at : at + few])
        strip = Image.new("RGB", (side, piece.height))
        strip.paste(piece, (left, 0))
        rows[top + at : top + at + piece.height] = strip.resize((size, piece.height), method)
    return np.array(Image.fromarray(rows).resize((size, size), method))
