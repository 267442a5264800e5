"""The changes by which a picture and its copy differ: colour, sharpness, place.

Of the paper and its authors' program (see `blend`; github.com/mapooon/SelfBlendedImages, commit
249281e) this keeps the kinds of change, that either picture may be the changed one, channels
shifted by up to 20 levels, brightness and contrast by up to .1, shrinking or sharpening in every
blend, sizes from .95 to 1.05 and shifts of 3 %.

On purpose it differs in this:
- Each change of colour comes in half of the blends; theirs come in .3 (channels) and in all.
- Their limits of .3 for hue, saturation and value are fractions of a level as their library counts,
  so next to nothing. Here they can be seen.
- They shrink to a half or a quarter by dropping pixels, before a face of a few hundred pixels is
  cut out and resized. Preprocessing has taken much of the resolution here, so copies are shrunk
  less, and averaged, as dropping would leave a grid of its own.
- Sharpening is another filter, with a range of its own.
- They move and scale the mask together with the copy; here it stays, so that it lies where the
  landmarks say which part it is.
- They shift by half as much up and down as sideways; here it is the same.
- Both pictures are then augmented alike by `augment`, as any others; theirs get JPEG too.

These ranges were chosen by looking at blends of 64 to 224 pixels.
"""

import cv2
import numpy as np

CHANCE = 0.5  # of each of the three changes of colour
SHIFT = 20  # grey levels of a channel
HUE, SATURATION, VALUE = 5, 0.2, 0.1  # of 256 steps around the circle; shares of what they are
BRIGHTNESS, CONTRAST = 0.1, 0.1  # shares of 255, and of the distance from the middle grey
SHRINK = (1.25, 2.0)  # the frequencies above are lost
SHARPEN = (0.4, 1.2)  # share of the difference from the blurred picture that is added
MOVE, ZOOM = 0.03, 0.05  # shares of the side, and of the size


def retouched(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another colour, perhaps, and another sharpness: blurred by shrinking, or sharpened.

    Args:
        image: uint8 (S, S, 3), RGB.
        rng: What is drawn from; the same number of draws each time.

    Returns:
        uint8 (S, S, 3); the argument is left alone.
    """
    which, shift, hsv, light, sharp = (
        rng.random(3), rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 2),
        rng.random(2),
    )  # fmt: skip
    levels = np.arange(256, dtype=np.float32)
    if which[0] < CHANCE:
        image = _looked_up(image, [levels + SHIFT * by for by in shift])
    if which[1] < CHANCE:
        tables = [
            (levels + round(HUE * hsv[0])) % 256,
            levels * (1 + SATURATION * hsv[1]),
            levels * (1 + VALUE * hsv[2]),
        ]
        turned = _looked_up(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL), tables)
        image = cv2.cvtColor(turned, cv2.COLOR_HSV2RGB_FULL)
    if which[2] < CHANCE:
        table = (levels - 127.5) * (1 + CONTRAST * light[0]) + 127.5 + 255 * BRIGHTNESS * light[1]
        image = _looked_up(image, [table] * 3)
    if sharp[0] < 0.5:
        return _shrunk(image, _between(SHRINK, sharp[1]))
    return _sharpened(image, _between(SHARPEN, sharp[1]))


def moved(image: np.ndarray, about: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifted by up to 3 % of the side, and scaled by up to 5 % about a point.

    Args:
        image: uint8 (S, S, 3); its edge is repeated outward.
        about: x and y, pixels.
        rng: What is drawn from.

    Returns:
        uint8 (S, S, 3).
    """
    side = len(image)
    zoom, *shift = 1 + ZOOM * rng.uniform(-1, 1), *(MOVE * side * rng.uniform(-1, 1, 2))
    transform = np.array([[zoom, 0, 0], [0, zoom, 0]], np.float64)
    transform[:, 2] = (1 - zoom) * np.asarray(about) + shift
    return cv2.warpAffine(
        image, transform, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _looked_up(image: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    """Each channel's levels by its table of 256."""
    table = np.stack(tables, axis=1).round().clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])


def _shrunk(image: np.ndarray, factor: float) -> np.ndarray:
    size = image.shape[1::-1]
    small = tuple(max(1, round(side / factor)) for side in size)
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, size, interpolation=cv2.INTER_LINEAR)


def _sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    blurred = cv2.GaussianBlur(image, (0, 0), 1.0)
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)
