"""`python -m bench.tuning CORPUS... --base MODEL`: our training beside the recipe of most tutorials.

One run, the same documents, base, machine and number of learned tokens for both, one after the other: useful tokens a
second (those that a loss is computed for; a filler is not one), the perplexity on documents that neither has seen, in
float32, and the peak of memory. Documents end at a line with `%`, as in Debian's `fortunes`, or with the file.

The recipe: Trainer with its own defaults, a document a row, cut to 128 tokens, filled up to the longest of its 4.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from contract.tunings.order import TuningOrder
from contract.tunings.prepared_corpus import DESCRIPTION, TRAIN, VALIDATION, PreparedCorpus, documents_file, tokens_file
from worker.evaluation.perplexity import evaluate
from worker.tuning.base_model import BaseModel, load_base, set_dropout
from worker.tuning.blocks import IGNORED, Blocks
from worker.tuning.checkpoints import Checkpoints
from worker.tuning.process.events import Events
from worker.tuning.settled import Settled, settle
from worker.tuning.settling import machine, measured_sizes
from worker.tuning.trainer import TuningTrainer

library: Any = transformers  # untyped
HELD_BACK = 20  # one document in so many
CUT = 128
BATCH = 4
VALIDATION_TOKENS = 2048


def main() -> None:
    options = _options()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    results = {side: _measured(side) for side in SIDES}
    print("| | useful tokens a second | learned tokens | seconds | perplexity | peak memory |")
    print("|---|---|---|---|---|---|")
    for side, found in results.items():
        print(
            f"| {side} | {found['tokens'] / found['seconds']:.1f} | {found['tokens']:,} | {found['seconds']:.0f} | "
            f"{found['before']:.2f} → {found['after']:.2f} | {found['peak'] / 2**30:.2f} GiB |"
        )
    ours, recipe = (results[side]["tokens"] / results[side]["seconds"] for side in SIDES)
    print(f"\n{ours / recipe:.2f} times the recipe's useful tokens a second")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--base", default="demo")
    parser.add_argument("--tokens", type=int, default=50_000, help="learned by each [default: 50000]")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, help="ours [default: what would be chosen]")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measured(side: str) -> dict[str, Any]:
    """One side in a process of its own, whose peak of memory is its own."""
    command = [sys.executable, "-m", "bench.tuning", *sys.argv[1:], "--side", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{side}: {result}", file=sys.stderr)
    return result


def _ours(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="inkmill-bench-") as name:
        order = TuningOrder(name="bench", base=options.base, device="cpu", threads=options.threads, seed=options.seed,
                            learning_rate=options.learning_rate)  # fmt: skip
        base, (train, held_back) = load_base(order), _documents(options)
        corpus = _prepared(Path(name) / "corpus", base, train, held_back)
        settled = _for_tokens(order, base, corpus, options.tokens)
        print(settled, file=sys.stderr)
        torch.set_num_threads(settled.order.threads or 1)
        set_dropout(base.network, 0.0)
        blocks = Blocks(
            corpus.train,
            block=settled.order.block or 1,
            count=settled.steps * settled.blocks_per_update,
            seed=options.seed,
            filler=corpus.end_of_text,
        )
        quiet, checkpoints = Events(lambda line: None), Checkpoints(Path(name) / "checkpoints")
        trainer = TuningTrainer(
            base.network, settled, checkpoints, quiet, train=blocks, validation=None, callbacks=[]
        )  # fmt: skip
        return _timed(base, held_back, trainer, lambda: trainer.tokens_seen)


def _for_tokens(order: TuningOrder, base: BaseModel, corpus: PreparedCorpus, tokens: int) -> Settled:
    """What would be chosen for this corpus, but for the number of steps."""
    sizes = measured_sizes(base, corpus, "cpu")
    threads = order.threads or sizes.cores
    settled = settle(order, sizes, machine("cpu", threads))
    values = {**order.to_json(), "steps": round(tokens / (settled.order.tokens_per_update or 1))}
    return settle(TuningOrder.from_json(values), sizes, settled.machine)


def _recipe(options: argparse.Namespace) -> dict[str, Any]:
    base, (train, held_back) = load_base(TuningOrder(name="bench", base=options.base)), _documents(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    tokenizer = base.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    rows = [tokenizer(text, truncation=True, max_length=CUT) for text in train]
    rows = [row for row in rows if len(row["input_ids"]) > 1]
    collate = library.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    learned = 0

    def counted(batch: list[Any]) -> Any:
        nonlocal learned
        filled = collate(batch)
        learned += int(filled["labels"][:, 1:].ne(IGNORED).sum())
        return filled

    mean = sum(len(row["input_ids"]) - 1 for row in rows) / len(rows)
    with tempfile.TemporaryDirectory(prefix="inkmill-bench-") as name:
        arguments = library.TrainingArguments(
            output_dir=name, per_device_train_batch_size=BATCH, max_steps=round(options.tokens / (BATCH * mean)),
            seed=options.seed, use_cpu=True, save_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = library.Trainer(base.network, arguments, data_collator=counted, train_dataset=rows)
        return _timed(base, held_back, trainer, lambda: learned)


def _timed(base: BaseModel, held_back: Sequence[str], trainer: Any, learned: Callable[[], int]) -> dict[str, Any]:
    tokens = np.array(_tokens(base, held_back)[:VALIDATION_TOKENS])
    before = evaluate(base.network, tokens, base.positions).perplexity
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    after = evaluate(base.network, tokens, base.positions).perplexity
    return {"tokens": learned(), "seconds": seconds, "before": before, "after": after, "peak": peak}


def _documents(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Those to learn from, and those that are held back; in an order of the seed's."""
    texts = [text.strip() for path in options.corpus for text in path.read_text(errors="replace").split("\n%\n")]
    found = sorted({text for text in texts if text})
    random.Random(options.seed).shuffle(found)
    return found[len(found) // HELD_BACK :], found[: len(found) // HELD_BACK]


def _tokens(base: BaseModel, texts: Sequence[str]) -> list[int]:
    end = base.tokenizer.eos_token_id
    return [token for text in texts for token in (*base.tokenizer(text)["input_ids"], end)]


def _prepared(folder: Path, base: BaseModel, train: Sequence[str], held_back: Sequence[str]) -> PreparedCorpus:
    folder.mkdir()
    tokens = {TRAIN: _tokens(base, train), VALIDATION: _tokens(base, held_back)}
    for part, those in tokens.items():
        np.array(those, "<u4").tofile(tokens_file(folder, part))
        documents_file(folder, part).touch()
    told = {
        "files": [], "vocabulary": base.vocabulary, "end_of_text": base.tokenizer.eos_token_id,
        "tokenizer": base.tokenizer_digest(), "dtype": "uint32", "duplicates": 0, "empty": 0, "job": None,
        "outputs": None, "documents": {TRAIN: 0, VALIDATION: 0},
        "tokens": {part: len(those) for part, those in tokens.items()},
    }  # fmt: skip
    (folder / DESCRIPTION).write_text(json.dumps(told))
    return PreparedCorpus.open(folder)


SIDES = {"ours": _ours, "the recipe": _recipe}

if __name__ == "__main__":
    main()
