"""The regions of a face, which `data` lays out, as blending needs them too: see `data.regions`."""

from detector.data.regions import (
    REGIONS,
    Placed,
    landmarks_in_input,
    regions,
    regions_of_cut,
    regions_of_file,
    regions_of_image,
)

__all__ = [
    "REGIONS", "Placed", "landmarks_in_input", "regions", "regions_of_cut",
    "regions_of_file", "regions_of_image",
]  # fmt: skip
