"""Pictures on the page, and heatmaps over them.

They are data: URIs, so that no file is kept for a browser to fetch.
"""

import base64
from collections.abc import Mapping
from html import escape
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from detector.explain.lookup import PART_NAMES
from detector.page import words
from detector.page.judge import Answer, Judgement

DENSEST = 8.0  # times an even map's density: where the colours end, the same for every picture
LONGEST = 640  # pixels of the picture as it is shown
SHOWN = 448  # pixels a side of a heatmap, about
MOST_REGIONS = 5
REGION_WORDS = PART_NAMES | {"rest": "around the face"}


def heatmap(answer: Answer, judgement: Judgement) -> str:
    """The map over the picture, its share of each region, and how far it can be believed."""
    one, network = answer.prediction, judgement.opened.network
    method = judgement.method
    by = words.METHODS.get(method, method)
    drawn = heat_over(one.image, one.heatmap, one.labels)
    empty = one.heatmap.max() <= 0
    top = _top(one.regions)
    where = ", ".join(f"{name} {share:.0%}" for name, share in top)
    label = "Where the network saw evidence for fake: "
    label += "nowhere, the map is empty" if empty else where or "no regions, as no face was placed"
    caption = (
        f"The map is empty: {by} found no place that spoke for fake, whatever the verdict."
        if empty
        else f"Bright: where the network saw evidence for fake ({by}), whatever the verdict."
    )
    rows = "" if empty else "".join(
        f"<tr><th scope=\"row\">{escape(name)}</th><td>{share:.0%}</td>"
        f'<td><span class="share" style="width:{100 * share:.0f}%"></span></td></tr>'
        for name, share in top
    )  # fmt: skip
    table = (
        f'<table class="regions"><caption>Share of the map</caption><tbody>{rows}</tbody></table>'
        if rows
        else ""
    )
    believed = words.heatmap_words(network.heatmaps.get(method), method)
    return (
        '<div class="heat"><figure>'
        f'<img src="{data_uri(drawn)}" alt="{escape(label)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        f'<div>{table}<p class="note">{escape(believed)}</p></div></div>'
    )


def _top(shares: Mapping[str, float] | None) -> list[tuple[str, float]]:
    """The regions with most of the map, in words; the others are summed up."""
    if not shares:
        return []
    order = sorted(shares.items(), key=lambda pair: -pair[1])
    named = [(_region(name), share) for name, share in order[:MOST_REGIONS]]
    others = sum(share for _, share in order[MOST_REGIONS:])
    return named + ([("elsewhere on the face", others)] if order[MOST_REGIONS:] else [])


def _region(name: str) -> str:
    known = REGION_WORDS.get(name)
    if known is None and name.rpartition("_")[2] in ("left", "right"):
        part, _, side = name.rpartition("_")
        return f"viewer's {side} {part}"
    return known or name


def heat_over(image: np.ndarray, cam: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """A heatmap over the picture that the network saw.

    Args:
        image: uint8 (S, S, 3), RGB.
        cam: float (S, S), at least 0.
        labels: int (S, S), the region of each pixel, outlined; None for no outlines.

    Returns:
        uint8 (T, T, 3), RGB, a whole number of times as large where S is small. An even map, and
        an empty one, leaves the picture as it is.
    """
    times = max(1, round(SHOWN / len(image)))
    side = times * len(image)
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    mean = float(cam.mean())
    dense = np.zeros_like(cam, np.float32) if mean <= 0 else (cam / mean).astype(np.float32)
    dense = cv2.resize(dense, (side, side), interpolation=cv2.INTER_LINEAR)
    scaled = np.clip(dense / DENSEST * 255, 0, 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    alpha = np.clip((dense - 1) / 3, 0, 0.65)[..., None]
    drawn = np.rint(image * (1 - alpha) + colours * alpha).astype(np.uint8)
    if labels is not None:
        large = labels.astype(np.uint8).repeat(times, axis=0).repeat(times, axis=1)
        edge = cv2.morphologyEx(large, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
        drawn[edge] = 255
    return drawn


def data_uri(image: np.ndarray, longest: int = LONGEST) -> str:
    """A picture inside a page, shrunk where it is larger.

    Args:
        image: uint8 (H, W, 3), RGB.
        longest: Of its sides, pixels.
    """
    picture, packed = Image.fromarray(image), BytesIO()
    if max(picture.size) > longest:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    picture.save(packed, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"
