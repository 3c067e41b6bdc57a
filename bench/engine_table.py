"""The rounds of `bench.engine` as one table: medians, ratios to the best peer, shares of the ceiling.

Numbers in, Markdown out; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.engines import Engine, Result
from bench.workloads import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Every engine once, and the machine's ceilings just before."""

    results: Mapping[str, Result]  # by engine
    ceilings: Mapping[str, float]  # dtype -> floating-point operations a second


def print_table(engines: Sequence[Engine], workloads: Sequence[Workload], rounds: Sequence[Round]) -> None:
    """Prints the table.

    Ratios and shares are taken within a round, so that what else the machine does weighs on both sides.
    """
    print(f"\nMedian of {len(rounds)} rounds (lowest–highest)\n")
    names = [work.name.upper() for work in workloads]
    _line(
        "engine",
        "dtype",
        *(f"{name} tok/s" for name in names),
        "peak MB",
        *(f"× best peer, {name}" for name in names),
        *(f"of the ceiling, {name}" for name in names),
        "others' cores",
    )
    _line(*["---"] * (4 + 3 * len(names)))
    for engine in engines:
        if any(engine.name in round_.results for round_ in rounds):
            _line(*_row(engine, engines, workloads, rounds))
    _print_ceilings(workloads, rounds)


def _row(
    engine: Engine, engines: Sequence[Engine], workloads: Sequence[Workload], rounds: Sequence[Round]
) -> Iterable[str]:
    with_engine = [round_ for round_ in rounds if engine.name in round_.results]
    results = [round_.results[engine.name] for round_ in with_engine]
    yield from (engine.name, engine.dtype)
    for work in workloads:
        yield _spread([result.speed[work.name] for result in results])
    yield f"{max(result.peak_mb for result in results):,.0f}"
    for work in workloads:
        ratios = [ratio for round_ in with_engine if (ratio := _ratio(engine, engines, work.name, round_)) is not None]
        yield f"{median(ratios):.2f}" if ratios else ""
    for work in workloads:
        yield f"{median(_share(engine, work, round_) for round_ in with_engine):.0%}"
    yield f"{median(result.other_cores for result in results):.1f}"


def _ratio(engine: Engine, engines: Sequence[Engine], work: str, round_: Round) -> float | None:
    """To the fastest peer that computes in the same dtype; None where no such peer ran."""
    peers = [
        round_.results[peer.name].speed[work]
        for peer in engines
        if not peer.ours and peer.dtype == engine.dtype and peer.name in round_.results
    ]
    return round_.results[engine.name].speed[work] / max(peers) if peers else None


def _share(engine: Engine, work: Workload, round_: Round) -> float:
    """Of what the machine would write if it did nothing but the matrix products, at its best."""
    return round_.results[engine.name].speed[work.name] / _ceiling(work, round_.ceilings[engine.dtype])


def _ceiling(work: Workload, flops: float) -> float:
    """Tokens a second."""
    return work.tokens * flops / work.flop


def _print_ceilings(workloads: Sequence[Workload], rounds: Sequence[Round]) -> None:
    print("\nCeilings\n")
    _line("dtype", "GFLOP/s", *(f"{work.name.upper()} tok/s" for work in workloads))
    _line(*["---"] * (2 + len(workloads)))
    for dtype in rounds[0].ceilings:
        flops = [round_.ceilings[dtype] for round_ in rounds]
        speeds = (f"{_ceiling(work, median(flops)):,.0f}" for work in workloads)
        _line(dtype, _spread([each / 1e9 for each in flops]), *speeds)


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:,.0f}"
    return f"{median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


def _line(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")
