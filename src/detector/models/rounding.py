"""bfloat16 in compiled loops, which know it as the bits of a uint16."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload


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


def wide(value):
    """float32 of a float32, or of the bits of a bfloat16."""


def narrow(value, like):
    """A float32 as `like` is: as it is, or as the bits of the nearest bfloat16, even where tied."""


@overload(wide)
def _(value):
    if value == types.uint16:
        return lambda value: _float_of(np.uint32(np.uint32(value) << np.uint32(16)))
    return lambda value: value


@overload(narrow)
def _(value, like):
    if like != types.uint16:
        return lambda value, like: value

    def rounded(value, like):
        bits = _bits_of(value)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        near = np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))
        return near if value == value else np.uint16(0x7FC0)

    return rounded
