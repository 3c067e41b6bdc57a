"""Preparing a corpus, measured: megabytes a second and memory, of many documents, rows and one long text.

`python -m bench.corpus [--megabytes 20] [--model demo]`; bench/README.md says more.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import orjson

from bench.processes import run_measured
from bench.prompts import WORDS
from producer.corpus.order import CorpusPath
from producer.corpus.prepare import prepare_corpus

KINDS = {"tiny.txt": "the start alone", "documents.txt": "TXT, many documents", "rows.jsonl": "JSON lines",
         "pairs.jsonl": "prompts and completions", "long.txt": "TXT, one document"}  # fmt: skip


def main() -> None:
    options = _arguments()
    if options.prepare:
        prepare_corpus([CorpusPath(options.prepare)], options.model, Path(options.folder))
        return
    with tempfile.TemporaryDirectory(prefix="inkmill-bench-") as name:
        folder = Path(name)
        _write(folder, options.megabytes)
        print("| corpus | MB | seconds | MB/s | CPU seconds | peak MB |\n|---|---|---|---|---|---|")
        for file, kind in KINDS.items():
            asked = ["--model", options.model, "--prepare", str(folder / file), "--folder", str(folder / "c")]
            run = run_measured(["bench.corpus", *asked], os.environ)
            size = (folder / file).stat().st_size / 1e6
            speed = f"{run.wall:.1f} | {size / run.wall:.2f} | {run.cpu:.1f}"
            print(f"| {kind} | {size:.1f} | {speed} | {run.peak_mb:.0f} |")
            sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.corpus", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--model", default="demo", help="whose tokenizer is used")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)  # one preparation, in a process of its own
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def _write(folder: Path, megabytes: int) -> None:
    """The same texts in every form, the same bytes every time."""
    texts = list(_texts(megabytes * 1_000_000))
    (folder / "tiny.txt").write_text(texts[0])
    (folder / "documents.txt").write_text("\n<|endoftext|>\n".join(texts))
    (folder / "long.txt").write_text("\n".join(texts))
    (folder / "rows.jsonl").write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    pairs = ({"prompt": text[:80], "completion": text[80:]} for text in texts)
    (folder / "pairs.jsonl").write_bytes(b"".join(orjson.dumps(pair) + b"\n" for pair in pairs))


def _texts(characters: int) -> Iterator[str]:
    random, words = Random(1911), WORDS.split()
    while characters > 0:
        text = " ".join(random.choices(words, k=random.randint(30, 400))).capitalize() + "."
        characters -= len(text)
        yield text


if __name__ == "__main__":
    main()
