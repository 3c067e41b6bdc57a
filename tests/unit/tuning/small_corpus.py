"""A small prepared corpus, as `contract.tunings.prepared_corpus` reads it.

Its tales are composed by the demonstration model's own grammar, so that it learns something of them in seconds.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contract.tunings.base_files import tokenizer_digest
from contract.tunings.prepared_corpus import DESCRIPTION, TRAIN, VALIDATION, documents_file, loss_file, tokens_file
from worker.engine.load.checkpoint import find_checkpoint
from worker.engine.load.from_transformers import read_tokenizer

WORDS = ("lantern", "herring", "kettle", "bell", "ladder", "violin", "map", "rope", "apple", "stove")
PLACES = ("Kerrow", "Ashby", "Whitby", "Fenwick", "Dunmore")


def tales(count: int, seed: int = 0) -> list[str]:
    """Texts of a pattern that the base does not know."""
    chance = random.Random(seed)
    return [
        f"TALE {chance.randrange(100)}. The {chance.choice(WORDS)} of {chance.choice(PLACES)} sold its "
        f"{chance.choice(WORDS)} to the {chance.choice(WORDS)}, and {chance.choice(PLACES)} laughed until Friday.\n"
        for _ in range(count)
    ]


def write_corpus(
    folder: Path,
    train: Sequence[str],
    validation: Sequence[str] = (),
    *,
    base: str = "demo",
    prompt: str | None = None,
) -> Path:
    """
    Args:
        prompt: what every document begins with, and is not to be learned.
    """
    checkpoint = find_checkpoint(base)
    tokenizer = read_tokenizer(checkpoint)
    folder.mkdir(parents=True)
    counts: dict[str, dict[str, int]] = {"tokens": {}, "documents": {}}
    for part, texts in ((TRAIN, train), (VALIDATION, validation)):
        tokens: list[int] = []
        loss: list[int] = []
        table: list[tuple[int, int, int]] = []
        for line, text in enumerate(texts, 1):
            table.append((len(tokens), 0, line))
            only_read = tokenizer(prompt)["input_ids"] if prompt else []
            learned = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
            tokens += [*only_read, *learned]
            loss += [0] * len(only_read) + [1] * len(learned)
        np.array(tokens, "<u2").tofile(tokens_file(folder, part))
        np.array(table, "<i8").reshape(-1, 3).tofile(documents_file(folder, part))
        if prompt and texts:
            np.array(loss, np.uint8).tofile(loss_file(folder, part))
        counts["tokens"][part], counts["documents"][part] = len(tokens), len(texts)
    (folder / DESCRIPTION).write_text(
        json.dumps(_description(train, tokenizer, counts) | {"tokenizer": tokenizer_digest(checkpoint.folder)})
    )
    return folder


def _description(texts: Sequence[str], tokenizer: Any, counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()
    file = {"name": "tales.txt", "sha256": digest, "documents": len(texts), "tokens": counts["tokens"][TRAIN]}
    return {
        "files": [file], "vocabulary": len(tokenizer), "end_of_text": tokenizer.eos_token_id,
        "dtype": "uint16", "duplicates": 0, "empty": 0, "job": None, "outputs": None, **counts,
    }  # fmt: skip
