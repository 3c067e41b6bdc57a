"""The whole job, measured: `python -m bench.job [--prompts 2000] [--tutorial 64] [--batched 256]`.

`inkmill run` on prompts of W2's lengths, GPT-2 124M and a classifier of Detoxify's size, random weights both, bf16,
SQLite; from submit to the last score. Beside it what people write instead: (a) transformers' pipeline and then
Detoxify's predict, one text at a time, in float32; (b) generate in bfloat16 and then predict, in batches of 32.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import random_bert, random_gpt2
from bench.workloads import SAMPLING, Workload, night

BATCH = 32


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="inkmill-job-") as name:
        home = Path(name)
        random_gpt2.write_checkpoint(home / "gpt2")
        classifier = random_bert.write_checkpoint(home / "classifier")
        ours, parts = whole_job(home, classifier, options.prompts)
        print("\n| | texts | texts/s | tokens/s | inkmill's are so many times |\n|---|---|---|---|---|")
        print(line("inkmill run", options.prompts, ours, ours), flush=True)
        for label, count, size in (
            ("(a) pipeline, predict: one at a time, fp32", options.tutorial, 1),
            ("(b) generate, predict: batches of 32, bf16 and fp32", options.batched, BATCH),
        ):
            if count:
                theirs = loop(home / "gpt2", classifier, count, size)
                print(line(label, count, theirs, ours * mean_tokens(options.prompts) / mean_tokens(count)), flush=True)
        print("\n| where the time goes | s |\n|---|---|")
        for part, seconds in parts.items():
            print(f"| {part} | {seconds:.1f} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.job", description="Measure whole jobs.")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--tutorial", type=int, default=64, help="prompts for the loop that takes one at a time")
    parser.add_argument("--batched", type=int, default=256, help="prompts for the loop in batches")
    return parser.parse_args()


def mean_tokens(count: int) -> float:
    """Tokens of a text on average; texts of few prompts are not as long as those of all."""
    return sum(night(count).lengths) / count


def line(label: str, texts: int, speed: float, ours: float) -> str:
    """A row of the table; both speeds are in texts a second, of texts that are equally long."""
    return f"| {label} | {texts} | {speed:.2f} | {speed * mean_tokens(texts):.0f} | {ours / speed:.1f} |"


def texts_of(work: Workload) -> list[str]:
    words, first = random_gpt2.words(), random_gpt2.first_word()
    return ["".join(words[token - first] for token in prompt) for prompt in work.prompts]


def whole_job(home: Path, classifier: Path, count: int) -> tuple[float, dict[str, float]]:
    """Texts a second from submit to the last score, and where the time went."""
    work = night(count)
    with (home / "prompts.jsonl").open("w") as file:
        for prompt, length in zip(texts_of(work), work.lengths, strict=True):
            row = {"prompt": prompt, "max_new_tokens": length, "min_new_tokens": length}
            file.write(json.dumps(row | SAMPLING) + "\n")
    models = ["--model", str(home / "gpt2"), "--safety", str(classifier), "--dtype", "bf16"]
    started = time.perf_counter()
    _inkmill(home, "run", "prompts.jsonl", *models, "-o", "out.jsonl")
    wall = time.perf_counter() - started
    status = json.loads(_inkmill(home, "status", "1", "--json"))
    started = time.perf_counter()
    _inkmill(home, "export", "1", "-o", "again.jsonl")
    export = time.perf_counter() - started
    _inkmill(home, "stop")
    assert status["outputs"]["scored"] == count, status
    times = [datetime.fromisoformat(status[name]) for name in ("created_at", "started_at", "finished_at")]
    total, working = ((times[2] - since).total_seconds() for since in times[:2])
    computing = _compute_alone(home, classifier, texts_of(work), work.lengths)
    rest = working - sum(computing.values())
    return count / total, {
        "inkmill run, from the prompt to its return": wall,
        "from submit to the last score": total,
        "of it until the first claim: the worker starts": total - working,
        **computing,
        "the rest: queue, database, threads, waiting": rest,
        "export, a process of its own": export,
    }


def _compute_alone(home: Path, classifier: Path, prompts: Sequence[str], lengths: Sequence[int]) -> dict[str, float]:
    """The same texts by the engine and the classifier in this process, with nothing around them."""
    from contract.spec import SamplingSettings
    from worker.engine.load.loading import load_engine
    from worker.engine.sequence import Completion, Request
    from worker.safety.detoxify import load_classifier

    engine = load_engine(str(home / "gpt2"), "cpu", "bf16").engine
    settings = [SamplingSettings(max_new_tokens=length, min_new_tokens=length, **SAMPLING) for length in lengths]
    started, texts = time.perf_counter(), []
    engine.add(Request(index, *pair, index) for index, pair in enumerate(zip(prompts, settings, strict=True)))
    while engine.pending:
        texts += [report.text for report in engine.step() if isinstance(report, Completion)]
    generated = time.perf_counter()
    del engine
    scorer = load_classifier(str(classifier), "cpu")
    loaded = time.perf_counter()
    ordered = sorted(texts, key=len)
    for first in range(0, len(ordered), 128):
        scorer.score(ordered[first : first + 128])
    return {
        "generating alone, the same texts": generated - started,
        "scoring alone, the same texts": time.perf_counter() - loaded,
    }


def _inkmill(home: Path, *words: str) -> str:
    environment = os.environ | {"INKMILL_HOME": str(home / "home")}
    command = [sys.executable, "-m", "inkmill", *words]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def loop(model: Path, classifier: Path, count: int, size: int) -> float:
    """Texts a second of the loop that people write, `size` texts at a time; loading not counted."""
    import torch
    from transformers import AutoTokenizer, GPT2LMHeadModel

    work = night(count)
    tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    dtype = torch.float32 if size == 1 else torch.bfloat16
    network: Any = GPT2LMHeadModel.from_pretrained(model, dtype=dtype).eval()
    network.generation_config.eos_token_id = None
    predict = _predict(classifier)
    prompts, started = texts_of(work), time.perf_counter()
    texts: list[str] = []
    for first in range(0, count, size):
        batch, lengths = prompts[first : first + size], work.lengths[first : first + size]
        inputs = tokenizer(batch, return_tensors="pt", padding=True)
        start = inputs.input_ids.shape[1]
        with torch.inference_mode():
            generated = network.generate(
                **inputs, do_sample=True, max_new_tokens=max(lengths), pad_token_id=tokenizer.pad_token_id, **SAMPLING
            )
        texts += [tokenizer.decode(row[start : start + length]) for row, length in zip(generated, lengths, strict=True)]
    for first in range(0, count, size):
        predict(texts[first : first + size])
    return count / (time.perf_counter() - started)


def _predict(path: Path) -> Any:
    """Detoxify's predict: a batch as it comes, padded, in float32."""
    import torch
    from detoxify.detoxify import get_model_and_tokenizer

    checkpoint: Any = torch.load(path, weights_only=True)
    model, tokenizer = get_model_and_tokenizer(
        **checkpoint["config"]["arch"]["args"], state_dict=checkpoint["state_dict"]
    )
    model.eval()

    def predict(texts: list[str]) -> Any:
        with torch.no_grad():
            return torch.sigmoid(model(**tokenizer(texts, return_tensors="pt", truncation=True, padding=True))[0])

    return predict


if __name__ == "__main__":
    main()
