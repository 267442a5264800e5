"""Colour jitter as one map."""

from collections.abc import Sequence

import numpy as np

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue, as torchvision has them


def blends(steps: Sequence[tuple[int, float]], mean: Sequence[float]) -> np.ndarray:
    """Steps of colour jitter as one map, without limits in between.

    Args:
        steps: Kind and factor f of each: f of the picture, and 1 - f of black (kind 0), of its
            mean grey (1), of its greys (2).
        mean: Of the picture's red, green and blue.

    Returns:
        float64 (3, 4), from (red, green, blue, 1) to red, green and blue.
    """
    grey, map_ = np.array(GREY), np.eye(3, 4)
    for kind, factor in steps:
        other = np.zeros((1, 4))
        if kind == 1:
            other[0, 3] = grey @ (map_ @ [*mean, 1.0])
        elif kind == 2:
            other[0] = grey @ map_
        map_ = factor * map_ + (1.0 - factor) * other
    return map_
