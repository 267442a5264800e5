"""How far does JPEG carry an edit beyond its mask?

    python experiments/2026-11-21-synthetic-controls/spill.py

Mean difference, in levels of 255, between a picture and its untouched double, both encoded, by
distance from the mask: 80 faces of 128 px.
"""

import io

import cv2
import numpy as np
from PIL import Image

from detector.data.synthetic.camera import encode
from detector.data.synthetic.portrait import paint

RINGS = ((0, 2), (2, 4), (4, 8), (8, 16), (16, 64))  # pixels


def decoded(pixels: np.ndarray, quality: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encode(pixels, quality)))).astype(int)


def main() -> None:
    print("distance", *(f"{low}-{high}" for low, high in RINGS), sep="\t")
    for fake in (True, False):
        rings = []
        for k in range(40):
            asked = {"size": 128, "difficulty": ("easy", "mid", "hard")[k % 3], "fake": fake}
            pixels, mask, _, shot = paint((9, k), parts=(True, False, True, True), **asked)
            double, *_ = paint((9, k), parts=(False,) * 4, **asked)
            change = np.abs(decoded(pixels, shot.quality) - decoded(double, shot.quality)).max(2)
            away = cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 5)
            rings.append([change[(away > a) & (away <= b)].mean() for a, b in RINGS])
        print("fake" if fake else "real", *np.mean(rings, axis=0).round(2), sep="\t")


if __name__ == "__main__":
    main()
