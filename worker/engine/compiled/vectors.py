"""A weighted sum of vectors, written out for the vector unit.

Compilers keep its sums in memory, which costs as much again. The order of additions is the same for every element,
whatever lies where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

LANES = 32
"""How long the vectors are: two registers of AVX-512, four of AVX2."""

FLOATS = ir.VectorType(ir.FloatType(), LANES)
PAIRS = ir.VectorType(ir.IntType(32), LANES // 2)
UNALIGNED = 1  # bytes


@intrinsic  # type: ignore[untyped-decorator]
def add_weighted_vectors(
    context: Any, weights: Any, first: Any, count: Any, vectors: Any, start: Any, stride: Any, sums: Any, place: Any
) -> tuple[Any, Callable[..., Any]]:
    """Add vectors of LANES numbers, each by its weight, to sums[place : place + LANES].

    Arrays are flat and come whole, with where to begin: a slice costs as much as a vector.

    Args:
        weights: float32; `count` of them count, from `first` on.
        vectors: the first begins at `start`, the next `stride` further on. float32, uint16, which stands for
            bfloat16, or int8.
        sums: float32.

    Nothing is checked.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weights_at, vectors_at, sums_at = (
            target.make_array(signature.args[at])(target, builder, arguments[at]).data for at in (0, 3, 6)
        )
        _, first, count, _, start, stride, _, place = arguments
        weight, source = builder.gep(weights_at, [first]), builder.gep(vectors_at, [start])
        total = _sum(builder, weight, count, source, stride, signature.args[3].dtype)
        result = builder.bitcast(builder.gep(sums_at, [place]), FLOATS.as_pointer())
        builder.store(builder.fadd(builder.load(result, align=UNALIGNED), total), result, align=UNALIGNED)
        return target.get_dummy_value()

    integer = types.int64
    return types.void(weights, integer, integer, vectors, integer, integer, sums, integer), generate


def _sum(builder: Any, weights: Any, count: Any, source: Any, stride: Any, dtype: Any) -> Any:
    """The weighted sum, as a vector: two sums take turns, so that no addition waits for the one before."""
    before, loop = builder.block, builder.append_basic_block("vectors")
    body, end = builder.append_basic_block("vector"), builder.append_basic_block("vectors_end")
    builder.branch(loop)
    builder.position_at_end(loop)
    at, even, odd = builder.phi(count.type), builder.phi(FLOATS), builder.phi(FLOATS)
    builder.cbranch(builder.icmp_signed("<", at, count), body, end)
    builder.position_at_end(body)
    vector = _widened(builder, builder.gep(source, [builder.mul(at, stride)]), dtype)
    weight = _everywhere(builder, builder.load(builder.gep(weights, [at])))
    added = builder.call(_fused_multiply_add(builder), [weight, vector, even])
    following = builder.add(at, ir.Constant(count.type, 1))
    builder.branch(loop)
    nothing = ir.Constant(FLOATS, [0.0] * LANES)
    for phi, first, then in ((at, ir.Constant(count.type, 0), following), (even, nothing, odd), (odd, nothing, added)):
        phi.add_incoming(first, before)
        phi.add_incoming(then, body)
    builder.position_at_end(end)
    return _in_order(builder, builder.fadd(even, odd), dtype)


def _fused_multiply_add(builder: Any) -> Any:
    return get_or_insert_function(builder.module, ir.FunctionType(FLOATS, [FLOATS] * 3), f"llvm.fma.v{LANES}f32")


def _widened(builder: Any, place: Any, dtype: Any) -> Any:
    """LANES numbers as float32; see `_in_order`."""
    kind = ir.VectorType(place.type.pointee, LANES)
    numbers = builder.load(builder.bitcast(place, kind.as_pointer()), align=UNALIGNED)
    if dtype == types.float32:
        return numbers
    if dtype == types.int8:
        return builder.sitofp(numbers, FLOATS)
    pairs = builder.bitcast(numbers, PAIRS)
    lower, upper = (ir.Constant(PAIRS, [number] * (LANES // 2)) for number in (16, 0xFFFF0000))
    even, odd = builder.shl(pairs, lower), builder.and_(pairs, upper)
    return builder.bitcast(_shuffled(builder, even, odd, range(LANES)), FLOATS)


def _in_order(builder: Any, total: Any, dtype: Any) -> Any:
    """bfloat16 numbers are widened in pairs, the lower halves before the upper: to tell them apart takes less."""
    if dtype != types.uint16:
        return total
    return _shuffled(builder, total, total, (half + i for i in range(LANES // 2) for half in (0, LANES // 2)))


def _shuffled(builder: Any, first: Any, second: Any, places: Iterable[int]) -> Any:
    order = list(places)
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def _everywhere(builder: Any, number: Any) -> Any:
    """A vector that is the number in every place."""
    undefined, first = ir.Constant(FLOATS, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    alone = builder.insert_element(undefined, number, first)
    return _shuffled(builder, alone, undefined, [0] * LANES)
