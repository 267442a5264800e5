"""Does the network itself depend on what a map marks? Answers that need no mask.

A probability is asked again and again while pixels are taken away or put back in the order of
the map. `evidence` makes intervals of the numbers, one an image.
"""

from collections.abc import Callable

import cv2
import numpy as np

Score = Callable[[np.ndarray], np.ndarray]  # uint8 (N, S, S, 3) to float64 (N,), of one class
ROAD_LEFT = (0.8, 0.6, 0.4, 0.2)  # shares of the pixels that stay
ROAD_SIDE = 112  # pixels a side, at least, from which the others are filled in
ROAD_NOISE = 0.01  # of a picture scaled to a standard deviation near 1, as in the paper


def ranks(maps: np.ndarray, seed: int) -> np.ndarray:
    """Order of the pixels of each map, the densest first; equal ones in random order.

    Args:
        maps: float (N, S, S).
        seed: Of the ties: in an order of their own, rows would be taken from the top.

    Returns:
        int32 (N, S * S): 0 for the first pixel to go.
    """
    n = len(maps)
    ties = np.random.default_rng(seed).random(maps[0].size)
    found = np.empty((n, maps[0].size), np.int32)
    for row, values in zip(found, maps.reshape(n, -1), strict=True):
        row[np.lexsort((ties, -values))] = np.arange(values.size)
    return found


def curves(
    score: Score,
    images: np.ndarray,
    maps: np.ndarray,
    *,
    steps: int,
    insert: bool,
    seed: int = 0,
) -> np.ndarray:
    """Scores while pixels are deleted, or inserted into a blurred picture, densest first.

    Petsiuk, Das and Saenko, RISE, BMVC 2018: deleted pixels become the picture's mean colour,
    insertion begins at a blurred picture, so that neither makes edges that were not there more
    than it must.

    Args:
        score: From pictures to the score of the class explained.
        images: uint8 (N, S, S, 3).
        maps: float (N, S, S).
        steps: How many times an equal number of pixels changes, at least 1.
        insert: Else they are deleted.
        seed: Of ties.

    Returns:
        float64 (N, steps + 1): from nothing changed to everything.
    """
    order = ranks(maps, seed).reshape(maps.shape)
    pixels = maps[0].size
    edges = np.round(np.linspace(0, pixels, steps + 1)).astype(int)
    found = np.empty((len(images), steps + 1))
    for at, (image, place) in enumerate(zip(images, order, strict=True)):
        other = blurred(image) if insert else _mean_colour(image)
        start, end = (other, image) if insert else (image, other)
        variants = [np.where((place < edge)[..., None], end, start) for edge in edges]
        found[at] = score(np.stack(variants))
    return found


def area_under(found: np.ndarray) -> np.ndarray:
    """Area under each curve over [0, 1], by trapezoids: float64 (N,) from (N, steps + 1)."""
    return np.trapezoid(found, dx=1 / (found.shape[1] - 1), axis=1)


def blurred(image: np.ndarray) -> np.ndarray:
    """A picture in which no part of a face is left: Gaussian, sigma of 5 % of the side."""
    sigma = 0.05 * min(image.shape[:2])
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def _mean_colour(image: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.round(image.mean((0, 1))).astype(np.uint8), image.shape)


def road(score: Score, images: np.ndarray, maps: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """ROAD: how much more the score falls without the densest pixels than without the others.

    Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022:
    what is removed is filled in from its neighbours, so that the hole's shape tells little. Half
    the difference of the score without the least and without the most relevant pixels, averaged
    over shares removed; the imputation is pytorch-grad-cam's.

    Args:
        score: From pictures to the score of the class explained.
        images: uint8 (N, S, S, 3).
        maps: float (N, S, S).
        seed: Of ties and of the imputation's noise.

    Returns:
        float64 (N,); above 0 where the map ranks pixels better than its reverse.
    """
    order = ranks(maps, seed).reshape(maps.shape)
    pixels, found = maps[0].size, np.empty(len(images))
    for at, (image, place) in enumerate(zip(images, order, strict=True)):
        without = []
        for left in ROAD_LEFT:
            gone = round((1 - left) * pixels)
            without.append(_filled(image, place >= pixels - gone, seed))  # least relevant
            without.append(_filled(image, place < gone, seed))
        least, most = score(np.stack(without)).reshape(-1, 2).T
        found[at] = (least - most).mean() / 2
    return found


def _filled(image: np.ndarray, gone: np.ndarray, seed: int) -> np.ndarray:
    import torch
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    side = len(gone)
    # What is filled in is smooth, and the equations of four times the pixels take six times as
    # long. A cell is gone with any of its pixels, so that nothing of them is left.
    cells = side // max(1, side // ROAD_SIDE)
    hidden = cv2.resize(gone.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA) > 0
    small = cv2.resize(image, (cells, cells), interpolation=cv2.INTER_AREA)
    if hidden.all():
        hidden, small = gone, image
    # On the scale for which the noise was chosen.
    scaled = torch.from_numpy(small.astype(np.float32) / 64 - 2).permute(2, 0, 1)
    with torch.random.fork_rng(devices=[]):  # it draws noise even where that is 0
        filled = NoisyLinearImputer(noise=0)(scaled, torch.from_numpy(~hidden).float())
    whole = np.ascontiguousarray(filled.permute(1, 2, 0).numpy())
    whole = cv2.resize(whole, (side, side), interpolation=cv2.INTER_LINEAR)
    whole = whole + ROAD_NOISE * np.random.default_rng(seed).standard_normal(whole.shape)
    whole = np.clip(np.rint((whole + 2) * 64), 0, 255).astype(np.uint8)
    return np.where(gone[..., None], whole, image)


def occlusion(score: Score, images: np.ndarray, *, grid: int) -> np.ndarray:
    """Fall of the score when one cell of a grid is replaced by the picture's mean colour.

    Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014. It asks
    the network alone, no gradient and no layer, and so is independent of Grad-CAM.

    Args:
        score: From pictures to the score of the class explained.
        images: uint8 (N, S, S, 3).
        grid: Cells a side, at least 1 and at most S.

    Returns:
        float64 (N, grid, grid): score as it is less score without the cell.
    """
    side = images.shape[1]
    edges = np.round(np.linspace(0, side, grid + 1)).astype(int)
    found = np.empty((len(images), grid, grid))
    for at, image in enumerate(images):
        variants = np.repeat(image[None], grid * grid + 1, axis=0)
        colour = _mean_colour(image)[0, 0]
        for cell in range(grid * grid):
            row, column = divmod(cell, grid)
            variants[cell + 1, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = (
                colour
            )
        scores = score(variants)
        found[at] = (scores[0] - scores[1:]).reshape(grid, grid)
    return found


def pooled(maps: np.ndarray, grid: int) -> np.ndarray:
    """Maps averaged over the cells of a grid: float64 (N, grid, grid) of (N, S, S)."""
    edges = np.round(np.linspace(0, maps.shape[1], grid + 1)).astype(int)
    sizes = np.diff(edges)
    rows = np.add.reduceat(maps.astype(np.float64), edges[:-1], axis=1)
    return np.add.reduceat(rows, edges[:-1], axis=2) / np.outer(sizes, sizes)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation of two maps of each image.

    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, compare maps of a network with
    maps of the same network after its weights were randomized.

    Args:
        a, b: float (N, ...), of the same shape.

    Returns:
        float64 (N,) in [-1, 1]; NaN where one of the two is constant.
    """
    from scipy.stats import rankdata

    found = np.full(len(a), np.nan)
    for at, (one, two) in enumerate(zip(a, b, strict=True)):
        x, y = (rankdata(values.ravel()) for values in (one, two))
        x, y = x - x.mean(), y - y.mean()
        if (scale := np.sqrt((x @ x) * (y @ y))) > 0:
            found[at] = np.clip(x @ y / scale, -1, 1)
    return found
