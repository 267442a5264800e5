"""How much of a map lies where it should, image by image.

Maps are float (N, S, S), finite and >= 0, on any scale; all zero is legal. Masks are bool
(N, S, S), label maps int8 (N, S, S) with places in `explain.regions.REGIONS`. What is undefined,
such as the share of a map that is zero, is NaN, to be left out and counted: see `evidence`, which
makes intervals and tests of these numbers.

Shares and the pointing game: Zhang et al., Top-Down Neural Attention by Excitation Backprop, IJCV
126, 2018 (pointing game); Wang et al., Score-CAM, CVPRW 2020 (share, there energy-based).
"""

from collections.abc import Iterator

import cv2
import numpy as np

from detector.errors import UserError
from detector.explain.regions import REGIONS


def shares(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map that lies inside its mask.

    Args:
        maps: float (N, S, S), or (S, S) for one that stands for all.
        masks: bool (N, S, S).

    Returns:
        float64 (N,) in [0, 1]; NaN where the map is zero or the mask empty.

    Raises:
        UserError: The shapes do not fit, or a map has a value below 0 or one that is not finite.
    """
    masks = _masks(masks)
    maps = _maps(maps, masks.shape)
    inside = np.einsum("nij,nij->n", maps, masks, dtype=np.float64)
    total = np.einsum("nij->n", maps, dtype=np.float64)
    # Sums of two orders may differ in the last digit.
    found = np.minimum(_ratio(inside, total), 1.0)
    found[~masks.any((1, 2))] = np.nan
    return found


def area_shares(masks: np.ndarray) -> np.ndarray:
    """Share of the picture that each mask covers: what a uniform map has inside it.

    Returns:
        float64 (N,) in (0, 1]; NaN where the mask is empty, as in `shares`.
    """
    area = _masks(masks).mean((1, 2))
    return np.where(area > 0, area, np.nan)


def center_gaussian(size: int, sigma: float) -> np.ndarray:
    """A map that looks at the middle of every picture, and has seen none.

    Args:
        size: Side S, pixels.
        sigma: Standard deviation, as a share of the side.

    Returns:
        float64 (S, S), sums to 1.

    Raises:
        UserError: The side is below 1 or sigma not above 0.
    """
    if size < 1 or not sigma > 0:
        raise UserError(f"a centre Gaussian needs a side and a sigma above 0: {size}, {sigma}")
    at = (np.arange(size) + 0.5) / size - 0.5
    row = np.exp(-(at**2) / (2 * sigma**2))
    row /= row.sum()
    return np.outer(row, row)


def shares_of_others(
    maps: np.ndarray, masks: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Share inside each mask of the mean map of the other images: where maps lie anyway.

    Each map counts as its shares, so that a strong one does not outweigh the rest; maps that are
    zero do not count. Time and memory are linear in N: what is left out is taken from the sum.

    Args:
        maps: float (N, S, S).
        masks: bool (N, S, S).
        groups: (N,) group of each image; the whole group is left out, as a picture's twin has
            nearly the same map. None: each image is its own.

    Returns:
        float64 (N,) in [0, 1]; NaN where the mask is empty or no other map is left.
    """
    found = np.full(len(masks), np.nan)
    for at, mean in means_of_others(maps, groups):
        found[at] = shares(mean, _masks(masks)[at])
    return found


def region_shares_of_others(
    maps: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """As `shares_of_others`, for each region: float64 (N, R), R the number of `REGIONS`."""
    found = np.full((len(labels), len(REGIONS)), np.nan)
    for at, mean in means_of_others(maps, groups):
        found[at] = region_shares(mean, np.asarray(labels)[at])
    return found


def means_of_others(
    maps: np.ndarray, groups: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each group its images, int (M,), and the mean map of all the others, (S, S) float64."""
    maps = np.asarray(maps)
    maps = _maps(maps, maps.shape)
    names = np.arange(len(maps)) if groups is None else np.asarray(groups)
    if names.shape != (len(maps),):
        raise UserError(f"{len(maps)} maps and groups of shape {names.shape}: give one per map")
    scale = np.einsum("nij->n", maps, dtype=np.float64)
    weight = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    total = np.einsum("nij,n->ij", maps, weight)
    order = np.argsort(names, kind="stable")
    starts = np.flatnonzero(np.r_[True, names[order][1:] != names[order][:-1]])
    counted = int((weight > 0).sum())
    for at in np.split(order, starts[1:]):
        others = counted - int((weight[at] > 0).sum())
        own = np.einsum("nij,n->ij", maps[at], weight[at])
        # Rounding leaves some 1e-16 of either sign where all the others are zero.
        left = np.where(total - own > 1e-12 * total, total - own, 0.0)
        yield at, left / others if others else np.zeros_like(total)


def pointing_game(maps: np.ndarray, masks: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Whether the maximum of each map lies inside its mask.

    Args:
        maps: float (N, S, S), or (S, S) for one that stands for all.
        masks: bool (N, S, S).
        tolerance: Distance from the mask, in pixels, that still counts as inside.

    Returns:
        float64 (N,) in [0, 1]: 1 inside, 0 outside, where several pixels tie the share of them
        inside; NaN where the map is zero or the mask empty.

    Raises:
        UserError: As for `shares`, or a tolerance below 0.
    """
    if not tolerance >= 0:
        raise UserError(f"tolerance={tolerance}: give a distance of at least 0 pixels")
    masks = _masks(masks)
    maps = _maps(maps, masks.shape)
    found = np.full(len(masks), np.nan)
    for i, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        if (top := one.max()) > 0 and mask.any():
            found[i] = _near(mask, tolerance)[one == top].mean()
    return found


def pixel_auroc(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether pixels inside the mask have more of the map than those outside.

    Args:
        maps: float (N, S, S), or (S, S) for one that stands for all.
        masks: bool (N, S, S).

    Returns:
        float64 (N,) in [0, 1], the AUROC over the pixels of each picture, ties counting half; NaN
        where the map is zero, or the mask empty or all of the picture.

    Raises:
        UserError: As for `shares`.
    """
    from scipy.stats import rankdata

    masks = _masks(masks)
    maps = _maps(maps, masks.shape)
    found = np.full(len(masks), np.nan)
    for i, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        inside = int(mask.sum())
        outside = mask.size - inside
        if one.max() > 0 and inside and outside:
            ranks = rankdata(one.ravel())[mask.ravel()]
            found[i] = (ranks.sum() - inside * (inside + 1) / 2) / (inside * outside)
    return found


def region_shares(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of each map in each region of the face.

    Args:
        maps: float (N, S, S), or (S, S) for one that stands for all.
        labels: int (N, S, S), places in `REGIONS`.

    Returns:
        float64 (N, R), R the number of `REGIONS`; a row sums to 1 over what is defined. NaN where
        the map is zero, and for a region that has no pixel in the picture.

    Raises:
        UserError: As for `shares`, or a label that is no region.
    """
    labels = _labels(labels)
    maps = _maps(maps, labels.shape)
    found = np.empty((len(labels), len(REGIONS)))
    for i, (one, label) in enumerate(zip(maps, labels, strict=True)):
        sums = np.bincount(label.ravel(), weights=one.ravel(), minlength=len(REGIONS))
        found[i] = _ratio(sums, sums.sum())
        found[i, np.bincount(label.ravel(), minlength=len(REGIONS)) == 0] = np.nan
    return found


def region_areas(labels: np.ndarray) -> np.ndarray:
    """Share of the picture that each region covers, float64 (N, R); NaN where it has no pixel."""
    labels = _labels(labels)
    return region_shares(np.ones(labels.shape[1:], np.float32), labels)


def region_masks(labels: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Masks of the parts that the bits of a set name, such as ciplab's.

    Args:
        labels: int (N, S, S), places in `REGIONS`.
        bits: int (N, P), 1 for a part that was edited, for the first P regions after the rest;
            a row with a negative entry is unknown.

    Returns:
        bool (N, S, S); empty where nothing was edited or it is not known what.
    """
    labels, bits = _labels(labels), np.asarray(bits)
    if bits.ndim != 2 or len(bits) != len(labels) or bits.shape[1] >= len(REGIONS):
        raise UserError(f"bits of shape {bits.shape} do not fit {len(labels)} images")
    named = np.zeros((len(labels), len(REGIONS)), bool)
    named[:, 1 : bits.shape[1] + 1] = (bits == 1) & (bits >= 0).all(1, keepdims=True)
    return named[np.arange(len(labels))[:, None, None], labels]


def _near(mask: np.ndarray, tolerance: float) -> np.ndarray:
    if tolerance == 0:
        return mask
    outside = np.where(mask, 0, 255).astype(np.uint8)
    # Exact Euclidean distances to the nearest pixel of the mask.
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance <= tolerance + 1e-4


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    whole = np.broadcast_to(whole, np.shape(part))
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _maps(maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    maps = np.asarray(maps)
    if len(shape) != 3 or maps.shape not in (shape, shape[1:]):
        raise UserError(f"maps of shape {maps.shape} do not fit {shape}: give (N, S, S)")
    if maps.size and not (np.isfinite(maps).all() and maps.min() >= 0):
        raise UserError("maps must be finite and at least 0 everywhere")
    return np.broadcast_to(maps, shape)


def _masks(masks: np.ndarray) -> np.ndarray:
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.dtype != bool:
        raise UserError(f"masks must be bool (N, S, S), got {masks.dtype} {masks.shape}")
    return masks


def _labels(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels must be whole numbers (N, S, S), got {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(REGIONS):
        raise UserError(f"labels must lie in 0 to {len(REGIONS) - 1}")
    return labels
