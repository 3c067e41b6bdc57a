"""Trains the demonstration models: `python -m tools.demo_models.train [--out DIR] [--only lm|classifier]`.

Rewrites the model files and, in the README beside them, the blocks between its markers. Deterministic:
the same kind of machine and the same torch write the same bytes; elsewhere the last bits may differ.
"""

import argparse
import os
from pathlib import Path

import torch

from tools.demo_models import report, train_classifier, train_lm
from worker.demo import DEMO_DIR


def main() -> None:
    arguments = _parser().parse_args()
    _fix_chance()
    out: Path = arguments.out
    if arguments.only != "classifier":
        report.write_lm(out, train_lm.train(out / "gpt2"))
    if arguments.only != "lm":
        report.write_classifier(out, train_classifier.train(out / "classifier"))
    report.write_samples(out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train the demonstration models.")
    parser.add_argument("--out", type=Path, default=DEMO_DIR, help="where gpt2/, classifier/ and README.md go")
    parser.add_argument("--only", choices=("lm", "classifier"), help="train one of the two")
    return parser


def _fix_chance() -> None:
    """One thread: sums then have one order, and on a shared machine it is also the fastest."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


if __name__ == "__main__":
    main()
