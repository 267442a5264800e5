"""A picture mirrored, cropped and jittered by one compiled loop, which holds no lock.

What OpenCV and PyTorch take in a dozen calls a picture is one here, so that threads do not wait for
each other's turn with the interpreter. Numbers are set one by one throughout: to assign and add
whole arrays makes Numba compile for seconds, messages of errors among it.
"""

import numpy as np

from detector.compiled import compiled
from detector.data.blends import GREY

BITS = 11  # of a weight between two neighbours, as OpenCV's resize has them
ONE, HALF = 1 << BITS, 1 << (2 * BITS - 1)
RED, GREEN, BLUE = GREY


@compiled
def _places(size, first, extent, side, mirrored, low, high, weight):
    """Of each of `size` places the two neighbours and the weight of the second, of ONE."""
    for at in range(size):
        place = max((at + 0.5) * extent / size - 0.5, 0.0)
        one = min(int(place), extent - 1)
        two = min(one + 1, extent - 1)
        weight[at] = np.int32(np.rint((place - one) * ONE))
        low[at] = side - 1 - first - one if mirrored else first + one
        high[at] = side - 1 - first - two if mirrored else first + two


@compiled
def _blended(kinds, factors, mean, map_):
    """`detector.data.blends.blends`, into float32 (3, 4)."""
    whole, grey, other = np.zeros((3, 4)), np.zeros(4), np.zeros(4)
    for c in range(3):
        whole[c, c] = 1.0
    for step in range(len(kinds)):
        factor = factors[step]
        for k in range(4):
            grey[k] = RED * whole[0, k] + GREEN * whole[1, k] + BLUE * whole[2, k]
            other[k] = grey[k] if kinds[step] == 2 else 0.0
        if kinds[step] == 1:
            other[3] = grey[0] * mean[0] + grey[1] * mean[1] + grey[2] * mean[2] + grey[3]
        for c in range(3):
            for k in range(4):
                whole[c, k] = factor * whole[c, k] + (1.0 - factor) * other[k]
    for c in range(3):
        for k in range(4):
            map_[c, k] = whole[c, k]


@compiled
def change(picture, mirrored, top, left, height, width, kinds, factors, out):
    """Mirrors a picture, crops and enlarges it, and jitters its colours, in this order.

    Args:
        picture: uint8 (S, S, 3).
        mirrored: Whether left and right change places.
        top, left, height, width: The crop, of the mirrored picture.
        kinds: Steps of colour jitter in their order, int64 (K), as `blends` takes them.
        factors: Of each, float64 (K).
        out: uint8 (S, S, 3), contiguous, gets the result: linear between pixels, rounded, then
            jittered and rounded again.
    """
    size = len(out)
    if height == size and width == size:
        for y in range(size):
            for x in range(size):
                at = size - 1 - x if mirrored else x
                for c in range(3):
                    out[y, x, c] = picture[y, at, c]
    else:
        _enlarge(picture, mirrored, top, left, height, width, out)
    if len(kinds) > 0:
        _jitter(kinds, factors, out)


@compiled
def _between(one, two, share):
    """ONE times what lies between; int32 throughout, as Numba would make 64 bits of a product."""
    return np.int32(np.int32(one << np.int32(BITS)) + np.int32(np.int32(two - one) * share))


@compiled
def _enlarge(picture, mirrored, top, left, height, width, out):
    size, side = out.shape[0], picture.shape[1]
    columns, rows = np.empty((2, size), np.uintp), np.empty((2, size), np.uintp)
    across, down = np.empty(size, np.int32), np.empty(size, np.int32)
    _places(size, left, width, side, mirrored, columns[0], columns[1], across)
    _places(size, top, height, side, False, rows[0], rows[1], down)
    lines, held = np.empty((2, 3 * size), np.int32), np.empty(2, np.int64)
    held[0] = held[1] = -1
    for y in range(size):
        for part in range(2):
            row = np.int64(rows[part, y])
            if held[part] == row:
                continue
            if part == 0 and held[1] == row:  # what was below is above now
                for at in range(3 * size):
                    lines[0, at] = lines[1, at]
            else:
                source, line = picture[row], lines[part]
                for x in range(size):
                    one, two, share = columns[0, x], columns[1, x], across[x]
                    for c in range(3):
                        first, second = np.int32(source[one, c]), np.int32(source[two, c])
                        line[3 * x + c] = _between(first, second, share)
            held[part] = row
        share = down[y]
        above, below, line = lines[0], lines[1], out[y].reshape(3 * size)
        for at in range(3 * size):
            mixed = np.int32(_between(above[at], below[at], share) + np.int32(HALF))
            line[at] = np.uint8(mixed >> np.int32(2 * BITS))


@compiled
def _jitter(kinds, factors, out):
    size = out.shape[0]
    total = np.zeros(3 * size, np.int32)
    for y in range(size):
        line = out[y].reshape(3 * size)
        for at in range(3 * size):
            total[at] = np.int32(total[at] + np.int32(line[at]))
    map_, mean = np.empty((3, 4), np.float32), np.zeros(3)
    for at in range(3 * size):
        mean[at % 3] += total[at] / (size * size)
    _blended(kinds, factors, mean, map_)
    r0, r1, r2, r3 = map_[0, 0], map_[0, 1], map_[0, 2], map_[0, 3] + np.float32(0.5)
    g0, g1, g2, g3 = map_[1, 0], map_[1, 1], map_[1, 2], map_[1, 3] + np.float32(0.5)
    b0, b1, b2, b3 = map_[2, 0], map_[2, 1], map_[2, 2], map_[2, 3] + np.float32(0.5)
    low, high = np.float32(0), np.float32(255)
    for y in range(size):
        line = out[y].reshape(3 * size)
        for x in range(size):
            red, green = np.float32(line[3 * x]), np.float32(line[3 * x + 1])
            blue = np.float32(line[3 * x + 2])
            first = r0 * red + r1 * green + r2 * blue + r3
            second = g0 * red + g1 * green + g2 * blue + g3
            third = b0 * red + b1 * green + b2 * blue + b3
            line[3 * x] = np.uint8(np.int32(min(max(first, low), high)))
            line[3 * x + 1] = np.uint8(np.int32(min(max(second, low), high)))
            line[3 * x + 2] = np.uint8(np.int32(min(max(third, low), high)))


@compiled
def change_each(pictures, rows, mirrored, boxes, kinds, factors, first, last, out):
    """`change` for a range of a batch.

    Args:
        pictures: uint8 (M, S, S, 3).
        rows: Which of them, int64 (N).
        mirrored: bool (N).
        boxes: Top, left, height and width, int64 (N, 4).
        kinds: Steps of colour jitter, int64 (N, K), after the last of them -1.
        factors: float64 (N, K).
        first, last: Range within N.
        out: uint8 (N, S, S, 3), contiguous.
    """
    for n in range(first, last):
        count = 0
        while count < kinds.shape[1] and kinds[n, count] >= 0:
            count += 1
        change(
            pictures[rows[n]], mirrored[n], boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3],
            kinds[n, :count], factors[n, :count], out[n],
        )  # fmt: skip
