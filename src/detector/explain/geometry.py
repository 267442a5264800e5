"""Where a point or a mask of a picture lies in the network's input: see `data.geometry`."""

from detector.data.geometry import mask_to_input, to_input, window

__all__ = ["mask_to_input", "to_input", "window"]
