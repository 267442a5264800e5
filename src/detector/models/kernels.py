"""Loops over interleaved maps (N, H, W, C) that PyTorch would walk through several times.

Each takes a range of images and holds no lock, so that threads share a
batch. bfloat16 comes as its bits in uint16; sums are of float32 within a row and float64 over rows.

A window of a pool has its places numbered 0 1 / 2 3; `NONE` stands for one whose output is 0 by
ReLU or dropout, so that no gradient passes.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from detector.compiled import compiled

NONE = 4


@intrinsic
def _float_of(context, bits):
    def make(context, builder, signature, values):
        return builder.bitcast(values[0], ir.FloatType())

    return types.float32(types.uint32), make


@intrinsic
def _bits_of(context, value):
    def make(context, builder, signature, values):
        return builder.bitcast(values[0], ir.IntType(32))

    return types.uint32(types.float32), make


def _wide(value):
    """float32 of a float32, or of the bits of a bfloat16."""


def _narrow(value, like):
    """A float32 as `like` is: as it is, or as the bits of the nearest bfloat16, even where tied."""


@overload(_wide)
def _(value):
    if value == types.uint16:
        return lambda value: _float_of(np.uint32(np.uint32(value) << np.uint32(16)))
    return lambda value: value


@overload(_narrow)
def _(value, like):
    if like != types.uint16:
        return lambda value, like: value

    def rounded(value, like):
        bits = _bits_of(value)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        near = np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))
        return near if value == value else np.uint16(0x7FC0)

    return rounded


@compiled
def moments(x, shift, first, last, out):
    """Adds up each channel's x - shift, and its square, into out (N, 2, C) by image."""
    _, height, width, channels = x.shape
    total, square = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for n in range(first, last):
        for h in range(height):
            total[:] = 0
            square[:] = 0
            for w in range(width):
                for c in range(channels):
                    value = _wide(x[n, h, w, c]) - shift[c]
                    total[c] += value
                    square[c] += value * value
            for c in range(channels):
                out[n, 0, c] += total[c]
                out[n, 1, c] += square[c]


@compiled
def pool(x, a, b, factor, words, least, first, last, y, place, winner):
    """y = factor relu(max(a x + b)) of each window of 2 by 2, and where the maximum was.

    `factor` (N, C); elements whose word is below `least` are dropped, none where `words` is None.
    `winner` gets the x of the maximum, unless it is None. The first of equal ones wins, and one
    that is not a number, as in PyTorch.
    """
    _, height, width, channels = x.shape
    like = x[0, 0, 0, 0]
    for n in range(first, last):
        of_image = factor[n]
        for oh in range(y.shape[1]):
            top = 2 * oh
            below = min(top + 1, height - 1)
            for ow in range(y.shape[2]):
                left = 2 * ow
                right = min(left + 1, width - 1)
                x0, x1 = x[n, top, left], x[n, top, right]
                x2, x3 = x[n, below, left], x[n, below, right]
                out, where = y[n, oh, ow], place[n, oh, ow]
                for c in range(channels):
                    best, k = _wide(x0[c]), np.int32(0)
                    most = a[c] * best + b[c]
                    raw = _wide(x1[c])
                    value = a[c] * raw + b[c]
                    more = (value > most) | (value != value)
                    k = np.int32(1) if more else k
                    best = raw if more else best
                    most = value if more else most
                    raw = _wide(x2[c])
                    value = a[c] * raw + b[c]
                    more = (value > most) | (value != value)
                    k = np.int32(2) if more else k
                    best = raw if more else best
                    most = value if more else most
                    raw = _wide(x3[c])
                    value = a[c] * raw + b[c]
                    more = (value > most) | (value != value)
                    k = np.int32(3) if more else k
                    best = raw if more else best
                    most = value if more else most
                    dead = (most <= 0) | (of_image[c] == 0)
                    if words is not None:
                        dead = dead | (np.int32(words[n, oh, ow, c]) < least)
                    out[c] = _narrow(np.float32(0) if dead else most * of_image[c], like)
                    where[c] = np.uint8(NONE if dead else k)
                    if winner is not None:
                        winner[n, oh, ow, c] = _narrow(best, like)


@compiled
def gradient_sums(winner, mean, dy, place, first, last, out):
    """Adds up each channel's gradient, and that times (x - mean) of the maximum, as `moments`."""
    _, height, width, channels = dy.shape
    total, product = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for n in range(first, last):
        for h in range(height):
            total[:] = 0
            product[:] = 0
            for w in range(width):
                slopes, where, best = dy[n, h, w], place[n, h, w], winner[n, h, w]
                for c in range(channels):
                    slope = _wide(slopes[c])
                    slope = slope if np.int32(where[c]) < NONE else np.float32(0)
                    total[c] += slope
                    product[c] += slope * (_wide(best[c]) - mean[c])
            for c in range(channels):
                out[n, 0, c] += total[c]
                out[n, 1, c] += product[c]


@compiled
def spread(x, scale, constant, slope, dy, place, first, last, dx):
    """dx = scale dy - constant - slope x at each maximum, - constant - slope x elsewhere.

    `scale` (N, C). Where `x` is None only the first term is written.
    """
    _, height, width, channels = dx.shape
    like = dx[0, 0, 0, 0]
    given, at = np.empty(channels, np.float32), np.empty(channels, np.int32)
    for n in range(first, last):
        for oh in range(dy.shape[1]):
            for ow in range(dy.shape[2]):
                slopes, where = dy[n, oh, ow], place[n, oh, ow]
                for c in range(channels):
                    given[c] = _wide(slopes[c]) * scale[n, c]
                    at[c] = where[c]
                for i in range(min(2, height - 2 * oh)):
                    for j in range(min(2, width - 2 * ow)):
                        k = np.int32(2 * i + j)
                        out = dx[n, 2 * oh + i, 2 * ow + j]
                        if x is None:
                            for c in range(channels):
                                passed = given[c] if at[c] == k else np.float32(0)
                                out[c] = _narrow(passed, like)
                        else:
                            own = x[n, 2 * oh + i, 2 * ow + j]
                            for c in range(channels):
                                passed = given[c] if at[c] == k else np.float32(0)
                                rest = constant[c] + slope[c] * _wide(own[c])
                                out[c] = _narrow(passed - rest, like)
