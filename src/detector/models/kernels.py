"""Loops over interleaved maps (N, H, W, C) that PyTorch would walk through several times.

Each takes a range of images and holds no lock, so that threads share a
batch. bfloat16 comes as its bits in uint16; sums are of float32 within a row and float64 over rows.

A window of a pool has its places numbered 0 1 / 2 3; `NONE` stands for one whose output is 0 by
ReLU or dropout, so that no gradient passes.
"""

import numpy as np

from detector.compiled import compiled
from detector.models.rounding import narrow, wide

NONE = 4


@compiled
def _winners(above, below, sign, winner, place):
    """Of two rows (W, C), the x with the largest sign x in each window, and its place."""
    width, channels = above.shape
    for w in range(len(winner)):
        left, right = 2 * w, min(2 * w + 1, width - 1)
        x0, x1, x2, x3 = above[left], above[right], below[left], below[right]
        best, where = winner[w], place[w]
        for c in range(channels):
            s, r0, r1, r2, r3 = sign[c], x0[c], x1[c], x2[c], x3[c]
            v1, v2, v3 = s * wide(r1), s * wide(r2), s * wide(r3)
            raw, most, k = r0, s * wide(r0), np.int32(0)
            # Written out, or LLVM makes no vectors of it.
            more = (v1 > most) | (v1 != v1)
            raw = r1 if more else raw
            most = v1 if more else most
            k = np.int32(1) if more else k
            more = (v2 > most) | (v2 != v2)
            raw = r2 if more else raw
            most = v2 if more else most
            k = np.int32(2) if more else k
            more = (v3 > most) | (v3 != v3)
            best[c] = r3 if more else raw
            where[c] = np.uint8(np.int32(3) if more else k)


@compiled
def _moments(line, shift, total, square):
    """Adds up a row's (W, C) x - shift, and its square; four pixels at a time."""
    width, channels = line.shape
    four = width // 4 * 4
    for w in range(0, four, 4):
        x0, x1, x2, x3 = line[w], line[w + 1], line[w + 2], line[w + 3]
        for c in range(channels):
            s = shift[c]
            d0, d1, d2, d3 = wide(x0[c]) - s, wide(x1[c]) - s, wide(x2[c]) - s, wide(x3[c]) - s
            total[c] += (d0 + d1) + (d2 + d3)
            square[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for w in range(four, width):
        for c in range(channels):
            value = wide(line[w, c]) - shift[c]
            total[c] += value
            square[c] += value * value


@compiled
def _finished(winner, a, b, factor, words, least, y, place):
    """A row of `finish`."""
    like = y[0, 0]
    for w in range(len(y)):
        best, out, where = winner[w], y[w], place[w]
        for c in range(len(a)):
            most = a[c] * wide(best[c]) + b[c]
            dead = (most <= 0) | (factor[c] == 0)
            if words is not None:
                dead = dead | (np.int32(words[w, c]) < least)
            out[c] = narrow(np.float32(0) if dead else most * factor[c], like)
            where[c] = np.uint8(NONE) if dead else where[c]


@compiled
def pool_moments(x, shift, sign, first, last, winner, place, out):
    """The x with the largest sign x in each window of 2 by 2, its place, and the moments of all x.

    A batch norm multiplies by a factor whose sign is known before its moments are, so that one
    walk does for both. The first of equal ones wins, and one that is not a number, as in PyTorch.

    Args:
        x: Maps (N, H, W, C).
        shift: Added up are x - shift, and its square, into out (N, 2, C) by image.
        sign: -1, 0 or 1 of each channel, float32 (C).
        first, last: Range of images.
        winner: As x, half as high and wide, rounded up.
        place: uint8, of winner's shape.
        out: float64.
    """
    _, height, _, channels = x.shape
    total, square = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for n in range(first, last):
        for h in range(height):
            if h % 2 == 0:
                below = x[n, min(h + 1, height - 1)]
                _winners(x[n, h], below, sign, winner[n, h // 2], place[n, h // 2])
            total[:] = 0
            square[:] = 0
            _moments(x[n, h], shift, total, square)  # while the row is near
            for c in range(channels):
                out[n, 0, c] += total[c]
                out[n, 1, c] += square[c]


@compiled
def finish(winner, a, b, factor, words, least, first, last, y, place):
    """y = factor relu(a winner + b); where that is 0 by ReLU or dropout, the place is `NONE`.

    `factor` (N, C); elements whose word is below `least` are dropped, none where `words` is None.
    """
    for n in range(first, last):
        for h in range(y.shape[1]):
            at = None if words is None else words[n, h]
            _finished(winner[n, h], a, b, factor[n], at, least, y[n, h], place[n, h])


@compiled
def pool(x, a, b, factor, words, least, first, last, y, place):
    """The largest a x of each window of 2 by 2, and `finish`; max-pool with a = 1 and b = 0."""
    height = x.shape[1]
    row = np.empty_like(x[0, 0, : y.shape[2]])
    for n in range(first, last):
        for h in range(y.shape[1]):
            below = x[n, min(2 * h + 1, height - 1)]
            _winners(x[n, 2 * h], below, a, row, place[n, h])
            at = None if words is None else words[n, h]
            _finished(row, a, b, factor[n], at, least, y[n, h], place[n, h])


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
                    slope = wide(slopes[c])
                    slope = slope if np.int32(where[c]) < NONE else np.float32(0)
                    total[c] += slope
                    product[c] += slope * (wide(best[c]) - mean[c])
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
                    given[c] = wide(slopes[c]) * scale[n, c]
                    at[c] = where[c]
                for i in range(min(2, height - 2 * oh)):
                    for j in range(min(2, width - 2 * ow)):
                        k = np.int32(2 * i + j)
                        out = dx[n, 2 * oh + i, 2 * ow + j]
                        if x is None:
                            for c in range(channels):
                                passed = given[c] if at[c] == k else np.float32(0)
                                out[c] = narrow(passed, like)
                        else:
                            own = x[n, 2 * oh + i, 2 * ow + j]
                            for c in range(channels):
                                passed = given[c] if at[c] == k else np.float32(0)
                                rest = constant[c] + slope[c] * wide(own[c])
                                out[c] = narrow(passed - rest, like)


@compiled
def scale(x, mean, std, first, last, out):
    """out = (x / 255 - mean) / std, of uint8 x (N, H, W, 3), in float32, and rounded at the end.

    Args:
        mean, std: float32 (3 W), of each place of a row.
        out: As x, float32 or the bits of bfloat16.
    """
    _, height, width, _ = x.shape
    like = out[0, 0, 0, 0]
    for n in range(first, last):
        for h in range(height):
            line, into = x[n, h].reshape(3 * width), out[n, h].reshape(3 * width)
            for at in range(3 * width):
                value = np.float32(line[at]) / np.float32(255)
                into[at] = narrow((value - mean[at]) / std[at], like)
