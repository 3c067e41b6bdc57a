"""How far our engine's predictions in each dtype are from its own in fp32: `python -m bench.fidelity`.

After every token of every text: how far the next token's distribution diverges, and whether the likeliest token is the
same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import torch
from transformers import AutoTokenizer

from bench.engine import make_checkpoint
from bench.engines import CHECKPOINT, SMOLLM2
from bench.workloads import workload
from contract.errors import ModelUnavailable
from contract.spec import SamplingSettings
from worker.engine.cpu.gpt2 import GPT2
from worker.engine.decoder.decoder import Decoder
from worker.engine.forward import Rows
from worker.engine.load.checkpoint import find_checkpoint
from worker.engine.load.loading import Loaded, load_engine
from worker.engine.sequence import Completion, Request

DTYPES = ("bf16", "int8")
EXAMPLES = Path(__file__).parents[1] / "examples" / "prompts.jsonl"
TEXT_TOKENS = 128
MODELS = (
    ("GPT-2 124M, random weights", str(CHECKPOINT)),
    ("demo, trained", "demo"),
    ("SmolLM2-135M-Instruct", str(SMOLLM2)),
)


@dataclass(slots=True)
class Distance:
    """From fp32, over the positions seen so far."""

    positions: int = 0
    divergence: float = 0.0  # summed, in nats
    largest: float = 0.0
    same_choice: int = 0  # positions where the likeliest token is the same

    def add(self, exact: torch.Tensor, inexact: torch.Tensor) -> None:
        """Takes logits of the same positions, [positions, vocabulary] each."""
        true, other = (logits.double().log_softmax(dim=-1) for logits in (exact, inexact))
        divergences = (true.exp() * (true - other)).sum(dim=-1)  # KL(fp32 || dtype), [positions]
        self.positions += len(divergences)
        self.divergence += float(divergences.sum())
        self.largest = max(self.largest, float(divergences.max()))
        self.same_choice += int((true.argmax(dim=-1) == other.argmax(dim=-1)).sum())


def main() -> None:
    options = _arguments()
    make_checkpoint()
    print("| model | dtype | positions | mean KL, nats | largest | same likeliest token |")
    print("|---|---|---|---|---|---|")
    for name, model in MODELS:
        if model == str(SMOLLM2) and not (SMOLLM2 / "tokenizer.json").exists():
            print(f"{name} is left out: `make bench-smollm2` fetches it", file=sys.stderr)
            continue
        exact = _load(model, "fp32", options.threads)
        random = model == str(CHECKPOINT)
        prompts = workload("w1").cut(options.prompts).prompts if random else _own_texts(exact, model)
        for dtype in DTYPES:
            try:
                distance = _distance(exact, _load(model, dtype, options.threads), prompts)
            except ModelUnavailable as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            mean, same = distance.divergence / distance.positions, distance.same_choice / distance.positions
            print(f"| {name} | {dtype} | {distance.positions:,} | {mean:.1e} | {distance.largest:.1e} | {same:.2%} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.fidelity", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompts", type=int, help="only so many of w1's prompts, for a first look")
    return parser.parse_args()


def _load(model: str, dtype: str, threads: int) -> Loaded:
    return load_engine(model, device="cpu", dtype=dtype, slots=1, threads=threads)


def _own_texts(exact: Loaded, model: str) -> list[list[int]]:
    """What a trained model writes after the example prompts, as it would in a job, and the prompts before it."""
    prompts = [orjson.loads(line)["prompt"] for line in EXAMPLES.read_bytes().splitlines()]
    settings = SamplingSettings(max_new_tokens=TEXT_TOKENS)
    exact.engine.add([Request(index, prompt, settings, seed=index) for index, prompt in enumerate(prompts)])
    texts = []
    while exact.engine.pending:
        done = [report for report in exact.engine.step() if isinstance(report, Completion)]
        texts += [prompts[int(str(completion.key))] + completion.text for completion in done]
    tokenizer = AutoTokenizer.from_pretrained(find_checkpoint(model).folder)
    return [tokenizer(text)["input_ids"] for text in texts]


def _distance(exact: Loaded, other: Loaded, prompts: Iterable[Sequence[int]]) -> Distance:
    distance = Distance()
    for prompt in prompts:
        distance.add(next_token_logits(exact, prompt), next_token_logits(other, prompt))
    return distance


def next_token_logits(loaded: Loaded, tokens: Sequence[int]) -> torch.Tensor:
    """What the engine's model says after each of `tokens`, [tokens, vocabulary], float32."""
    model = loaded.engine.model
    assert isinstance(model, GPT2 | Decoder)
    cache, places = model.new_cache(1), np.arange(len(tokens))
    cache.reserve(0, len(tokens))
    rows = Rows(tokens=np.array(tokens), positions=places, slots=np.zeros_like(places), wanted=places)
    logits = model.forward(rows, cache)
    scales = 1 if logits.scales is None else torch.from_numpy(logits.scales)[:, None]
    return logits.values.float() * scales + torch.from_numpy(logits.offsets)[:, None]


if __name__ == "__main__":
    main()
