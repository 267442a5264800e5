"""Data sets: decoding, index, groups, splits, cache, augmentation."""
