"""Our engine beside others, each in turn in every round: tokens a second, memory, share of the machine's ceiling.

`python -m bench.engine [--workloads w1,w2] [--engines NAME,…] [--rounds 3]`; bench/README.md says more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence

from bench.engine_table import Round, print_table
from bench.engines import CHECKPOINT, ENGINES, SMOLLM2, Engine, Result, run_engine, run_for_json
from bench.workloads import GPT2, SAMPLING, WORKLOADS, Workload, workload
from bench.workloads import SMOLLM2 as SMOLLM2_SCALE

WARM_UP_TOKENS = 64  # for each prompt: all of w1, so that memory is touched as in the middle of a night


def main(arguments: Sequence[str] | None = None) -> None:
    options = _arguments(arguments)
    if options.device == "cuda":
        from bench import engine_cuda

        engine_cuda.main(options)
        return
    engines = list(_installed(_select(ENGINES[options.model], options.engines, options.dtype)))
    scale = {"gpt2": GPT2, "smollm2": SMOLLM2_SCALE}[options.model]
    workloads = [workload(name).cut(options.prompts).for_scale(scale) for name in options.workloads]
    make_checkpoint(options.model)
    rounds = []
    for number in range(options.rounds):
        print(f"round {number + 1}", file=sys.stderr)
        first = number % len(engines)
        rounds.append(_round([*engines[first:], *engines[:first]], workloads, options.threads))
    print_table(engines, workloads, rounds)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    every = {engine.name for engines in ENGINES.values() for engine in engines}
    names = ", ".join(sorted(every))
    parser = argparse.ArgumentParser(
        prog="python -m bench.engine",
        description="Measure our engine beside others.",
        epilog=f"Engines: {names}. Workloads: {', '.join(WORKLOADS)}.",
    )
    parser.add_argument(
        "--workloads", type=_comma_separated, metavar="NAME,…", default=["w1", "w2"], help="default: w1,w2"
    )
    parser.add_argument("--model", choices=ENGINES, default="gpt2", help="default: gpt2, 124M with random weights")
    parser.add_argument("--engines", type=_comma_separated, metavar="NAME,…", help="default: all")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "int8"), help="only the engines that compute in it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompts", type=int, help="only so many of each workload's prompts, for a first look")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(arguments)
    for option, requested, valid in (
        ("--workloads", options.workloads, WORKLOADS),
        ("--engines", options.engines or (), every),
    ):
        unknown = [name for name in requested if name not in valid]
        if unknown:
            parser.error(f"{option}: there is no {unknown[0]!r}; choose from {', '.join(sorted(valid))}")
    return options


def _comma_separated(text: str) -> list[str]:
    return text.split(",")


def _select(engines: Iterable[Engine], names: list[str] | None, dtype: str | None) -> Iterable[Engine]:
    return [
        engine
        for engine in engines
        if (names is None or engine.name in names) and (dtype is None or engine.dtype == dtype)
    ]


def _installed(engines: Iterable[Engine]) -> Iterable[Engine]:
    for engine in engines:
        if engine.installed or not engine.environment:
            yield engine
        else:
            print(f"{engine.name} is left out: it is not installed here; `make bench-peers` does that", file=sys.stderr)


def make_checkpoint(model: str = "gpt2") -> None:
    # In a process of its own, like everything that loads torch: a child's peak memory includes what its parent held.
    module, folder = {"gpt2": ("bench.random_gpt2", CHECKPOINT), "smollm2": ("bench.smollm2", SMOLLM2)}[model]
    if not (folder / "tokenizer.json").exists():
        subprocess.run([sys.executable, "-m", module, str(folder)], check=True)


def _round(engines: Iterable[Engine], workloads: Sequence[Workload], threads: int) -> Round:
    ceilings, _ = run_for_json([sys.executable, "-m", "bench.ceiling", str(threads)])
    print("  ceilings, GFLOP/s: " + ", ".join(f"{n} {f / 1e9:,.0f}" for n, f in ceilings.items()), file=sys.stderr)
    warm_up = workload("w1").cut(length=WARM_UP_TOKENS).for_scale(workloads[0].scale)
    results: dict[str, Result] = {}
    for engine in engines:
        task = {
            "threads": threads,
            "sampling": SAMPLING,
            "warm_up": warm_up.cut(engine.prompts).to_dict(),
            "workloads": [work.cut(engine.prompts).to_dict() for work in workloads],
        }
        try:
            results[engine.name] = run_engine(engine, task)
        except RuntimeError as error:
            print(f"  {engine.name} failed: {error}", file=sys.stderr)
        else:
            print(f"  {engine.name}: {_summary(results[engine.name])}", file=sys.stderr)
    return Round(results=results, ceilings=ceilings)


def _summary(result: Result) -> str:
    speeds = ", ".join(f"{name} {speed:,.0f} tokens/s" for name, speed in result.speed.items())
    return f"{speeds}, {result.peak_mb:,.0f} MB; others kept {result.other_cores:.1f} cores busy ({result.version})"


if __name__ == "__main__":
    main()
