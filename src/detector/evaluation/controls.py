"""What would a classifier that never sees the face have scored?

Four of them, fitted on the same training images as a network and read on the same test
images. Where a network is no better than the best of them, nothing shows that it looks at
faces (Torralba and Efros, Unbiased Look at Dataset Bias, CVPR 2011).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from detector.data.decode import decode
from detector.data.index import Index

CONTROLS = {
    "majority": "always the more frequent class of the training images",
    "header": "format, size, quantization table and bytes per pixel of the file",
    "pixels": "logistic regression on 24-pixel images",
    "dct": "logistic regression on the mean DCT spectrum of 8-pixel blocks",
}
SIDE = 24  # pixels
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # inverse penalties of the regressions, chosen on validation


@dataclass(frozen=True)
class Features:
    """What the controls know of N images.

    Args:
        kinds: Format, colour mode and quantization table: str (N, 3).
        sizes: Logarithms of width, height (pixels) and bytes per pixel: float64 (N, 3).
        pixels: 24-pixel RGB pictures in [0, 1]: float32 (N, 1728).
        dct: Logarithm of the mean magnitude of each coefficient: float32 (N, 64).
    """

    kinds: np.ndarray
    sizes: np.ndarray
    pixels: np.ndarray
    dct: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Features":
        return Features(self.kinds[rows], self.sizes[rows], self.pixels[rows], self.dct[rows])


def measure(
    index: Index,
    rows: Sequence[int],
    *,
    max_pixels: int,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Reads what the controls need; each file once, one in memory per core.

    Args:
        index: The set.
        rows: Which of its images, in the order wanted.
        max_pixels: As for the network.
        progress: Called with images done and images in all.

    Raises:
        DecodeError: A file can no longer be read.
    """
    columns = index.columns
    kinds = [[columns[key][row] for key in ("format", "mode", "quantization")] for row in rows]
    area = [columns["width"][row] * columns["height"][row] for row in rows]
    sizes = [
        (columns["width"][row], columns["height"][row], columns["bytes"][row] / pixels)
        for row, pixels in zip(rows, area, strict=True)
    ]
    pictures, spectra = [], []

    def look(row: int) -> tuple[np.ndarray, np.ndarray]:
        image = decode(index.path(row).read_bytes(), max_pixels=max_pixels)
        return thumbnail(image), spectrum(image)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (picture, bands) in enumerate(pool.map(look, rows), 1):
            pictures.append(picture)
            spectra.append(bands)
            if progress:
                progress(done, len(rows))
    return Features(
        np.array(kinds, dtype=str).reshape(-1, 3),
        np.log(np.array(sizes, np.float64).reshape(-1, 3)),
        np.array(pictures, np.float32).reshape(-1, SIDE * SIDE * 3),
        np.array(spectra, np.float32).reshape(-1, 64),
    )


def thumbnail(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) to float32 (1728) in [0, 1], averaged over areas."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32).ravel() / 255


def spectrum(image: np.ndarray) -> np.ndarray:
    """Logarithm of the mean magnitude of each of the 64 coefficients of JPEG's 8x8 DCT.

    Args:
        image: uint8 RGB (H, W, 3); a picture smaller than a block is repeated at its edges.

    Returns:
        float32 (64), row by row; after Frank et al., ICML 2020, on the blocks of JPEG.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) - 128
    height, width = grey.shape
    if height < 8 or width < 8:
        grey = np.pad(grey, ((0, max(0, 8 - height)), (0, max(0, 8 - width))), "edge")
        height, width = grey.shape
    high, wide = height // 8, width // 8
    blocks = grey[: high * 8, : wide * 8].reshape(high, 8, wide, 8).swapaxes(1, 2)
    basis = _basis()
    coefficients = basis @ blocks @ basis.T
    return np.log(np.abs(coefficients).mean(axis=(0, 1)) + 1e-3).ravel().astype(np.float32)


def _basis() -> np.ndarray:
    """The orthonormal DCT-II of length 8, float32 (8, 8)."""
    k, x = np.arange(8)[:, None], np.arange(8)[None]
    basis = np.sqrt(2 / 8) * np.cos(np.pi * (2 * x + 1) * k / 16)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


def fit(
    name: str,
    train: Features,
    train_labels: np.ndarray,
    val: Features,
    val_labels: np.ndarray,
) -> Callable[[Features], np.ndarray]:
    """Fits one control.

    Args:
        name: A key of `CONTROLS`.
        train, val: Features of the two parts; validation only chooses the penalty, and what
            of the header is used.
        train_labels, val_labels: 0 for fake, 1 for real.

    Returns:
        From features of M images to p_fake, float64 (M).
    """
    fake = np.asarray(train_labels) == 0
    if name == "majority":
        share = float(fake.mean())
        return lambda features: np.full(len(features.sizes), share)
    if name == "header":
        return _fit_header(train, fake, val, np.asarray(val_labels) == 0)
    return _fit_regression(name, train, fake, val, np.asarray(val_labels) == 0)


def _fit_header(
    train: Features, fake: np.ndarray, val: Features, val_fake: np.ndarray
) -> Callable[[Features], np.ndarray]:
    """Trees over all of the header, or over its kinds alone: whichever validation prefers.

    Sizes in bytes tell something in some sets; in others, such as ciplab, trees lose in them
    what the quantization table alone would have told.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    def together(features: Features) -> np.ndarray:
        return np.concatenate([features.kinds.astype(object), features.sizes], axis=1)

    def fitted(rest: str) -> Callable[[Features], np.ndarray]:
        encode = ColumnTransformer(
            [("kinds", OneHotEncoder(handle_unknown="ignore", max_categories=30,
              sparse_output=False), [0, 1, 2])],
            remainder=rest,
        )  # fmt: skip
        # Small trees, few of them: a rule that holds for 20 images is no accident of one.
        trees = HistGradientBoostingClassifier(
            max_iter=50, max_leaf_nodes=8, min_samples_leaf=20, learning_rate=0.1, random_state=0
        )
        model = make_pipeline(encode, trees).fit(together(train), fake)
        return lambda features: model.predict_proba(together(features))[:, 1]

    models = [fitted("passthrough"), fitted("drop")]
    losses = [log_loss(val_fake, model(val), labels=[False, True]) for model in models]
    return models[int(np.argmin(losses))]


def _fit_regression(
    name: str, train: Features, fake: np.ndarray, val: Features, val_fake: np.ndarray
) -> Callable[[Features], np.ndarray]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(
            getattr(train, name), fake
        )
        for strength in STRENGTHS
    ]
    losses = [
        log_loss(val_fake, model.predict_proba(getattr(val, name))[:, 1], labels=[False, True])
        for model in models
    ]
    model = models[int(np.argmin(losses))]
    return lambda features: model.predict_proba(getattr(features, name))[:, 1]
