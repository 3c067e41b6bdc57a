"""A classifier of Detoxify's size and layout with random weights, in whose vocabulary every word is one token.

`python -m bench.random_bert FOLDER` writes the checkpoint. Nothing is fetched, and nothing is known of scoring.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = 30_522  # BERT's
WORDS = tuple(f"w{number}" for number in range(VOCABULARY - len(SPECIAL)))


def main() -> None:
    (folder,) = map(Path, sys.argv[1:])
    print(write_checkpoint(folder))


def write_checkpoint(folder: Path) -> Path:
    """Writes the weights of a BERT-base and, in a folder beside them, its base configuration and its tokenizer.

    Returns:
        The checkpoint's file: what `--safety` takes.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    base = folder / "bert-base"
    base.mkdir(parents=True, exist_ok=True)
    config: Any = BertConfig(vocab_size=VOCABULARY)
    config.save_pretrained(base)
    (base / "vocab.txt").write_text("\n".join((*SPECIAL, *WORDS)) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    config.num_labels = len(LABELS)
    model = BertForSequenceClassification(config)
    path = folder / f"{base.name}.ckpt"
    torch.save({"state_dict": model.state_dict(), "config": _config(base)}, path)
    return path


def _config(base: Path) -> dict[str, Any]:
    arguments = {
        "num_classes": len(LABELS),
        "model_type": str(base.resolve()),
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
    }
    return {"arch": {"args": arguments}, "dataset": {"args": {"classes": list(LABELS)}}}


if __name__ == "__main__":
    main()
