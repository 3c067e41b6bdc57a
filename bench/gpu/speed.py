"""`python -m bench.gpu.speed MODEL`: tokens a second, beside transformers' generate and what the device could do."""

from __future__ import annotations

import argparse
from dataclasses import replace

from bench.engine_cuda import (
    ON_A_GPU,
    SHAPES,
    SMALL,
    best_generate,
    limits,
    random_network,
    steady_decode,
    whole_job,
)
from bench.gpu import parse_arguments, row

TINY = (2, 2, 128)  # layers, heads, width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=SHAPES)
    options = parse_arguments(parser)
    scale = SMALL if options.small else replace(ON_A_GPU, batches=(ON_A_GPU.slots,))
    name = f"{options.model}'s shapes, bf16"
    bandwidth, flops = limits(scale)
    row("the device", f"copies {bandwidth / 1e9:,.0f} GB/s, bf16 products {flops / 1e12:,.1f} TFLOP/s")
    network = random_network(*(TINY if options.small else SHAPES[options.model]), scale)
    steady, floor = steady_decode(network, bandwidth, flops, scale)
    row(f"{name}: {scale.slots} slots decoding", f"{steady:,.0f} tokens/s, {steady / floor:.0%} of the device's floor")
    ours = whole_job(network, scale)
    row(f"{name}: {2 * scale.slots} requests of {scale.new_tokens} tokens from start to end", f"{ours:,.0f} tokens/s")
    theirs, batch = best_generate(network, scale)
    found = f"{theirs:,.0f} tokens/s; ours is {ours / theirs:.1f} times that"
    row(f"{name}: transformers' generate, batch {batch}", found)


if __name__ == "__main__":
    main()
