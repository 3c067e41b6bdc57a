"""BERT's tokenizer, read without transformers: WordPiece (Wu et al. 2016) behind BERT's own cleaning of a text.

A tokenizer with any rule of its own is left to transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

CLASSES = ("BertTokenizer", "BertTokenizerFast")

UNKNOWN, FIRST, LAST = "[UNK]", "[CLS]", "[SEP]"
SPECIAL = {"pad_token": "[PAD]", "unk_token": UNKNOWN, "cls_token": FIRST, "sep_token": LAST, "mask_token": "[MASK]"}

RULES = SPECIAL | {
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "do_basic_tokenize": True,
    "never_split": None,
}
"""What a tokenizer's configuration may say of its rules, in these words alone."""

NO_RULES = ("backend", "clean_up_tokenization_spaces", "is_local", "local_files_only", "name_or_path")
"""What it may say in any words, for no token changes with it."""

LOOKED_AT = ("do_lower_case", "model_max_length", "special_tokens_map_file", "tokenizer_class")

COMPARED = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "model")
"""What of a tokenizer.json decides about tokens, beside the side on which long texts are cut."""


class WordPieceReader:
    """Texts to tokens, as transformers' BertTokenizer does it. Threads may share it."""

    def __init__(self, backend: Tokenizer, longest: int) -> None:
        self.longest = longest
        self._backend = backend
        backend.no_padding()
        backend.enable_truncation(longest, stride=(longest - backend.num_special_tokens_to_add(False)) // 2)

    def windows(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """Of each text its windows, each of up to `longest` tokens; neighbours overlap by half."""
        read = self._backend.encode_batch_fast(texts)
        return [[part.ids for part in (first, *first.overflowing)] for first in read]


def read_wordpiece(folder: Path, tokens: int, positions: int) -> WordPieceReader | None:
    """The tokenizer in a folder, where it is BERT's, as usual, and fits a model.

    Args:
        tokens: ids that the model knows.
        positions: tokens that it reads at once.
    """
    said, names = (_said(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json"))
    if said is None or names is None or (folder / "added_tokens.json").exists():
        return None
    rules = {name: value for name, value in said.items() if name not in (*NO_RULES, *LOOKED_AT)} | names
    lower, longest = said.get("do_lower_case", True), said.get("model_max_length", positions)
    usual = (
        all(name in RULES and RULES[name] == value for name, value in rules.items())
        and said.get("tokenizer_class") in (None, *CLASSES)
        and isinstance(lower, bool)
        and type(longest) is int
    )
    if not usual:
        return None
    try:
        backend = _stored(folder / "tokenizer.json", lower) or _built(
            WordPiece.read_file(str(folder / "vocab.txt")), lower
        )
    except Exception:  # the library's own errors have no type
        return None
    longest = min(longest, positions)
    fits = longest > 2 and max(backend.get_vocab().values()) < tokens
    return WordPieceReader(backend, longest) if fits else None


def _stored(path: Path, lower: bool) -> Tokenizer | None:
    """The tokenizer of a tokenizer.json; None where there is no such file, which transformers looks for first, too.

    Raises:
        Exception: it cannot be read, or it is not what would be built of its vocabulary.
    """
    if not path.exists():
        return None
    stored = Tokenizer.from_file(str(path))
    built = _built(stored.get_vocab(with_added_tokens=False), lower)
    theirs, ours = json.loads(stored.to_str()), json.loads(built.to_str())
    if any(theirs[part] != ours[part] for part in COMPARED) or (theirs["truncation"] or {}).get("direction") == "Left":
        raise ValueError(f"{path} has rules of its own")
    return stored


def _built(vocabulary: dict[str, int], lower: bool) -> Tokenizer:
    """
    Raises:
        Exception: a vocabulary without the special tokens, or one that the library refuses.
    """
    if missing := {*SPECIAL.values()} - vocabulary.keys():
        raise ValueError(f"the vocabulary lacks {', '.join(sorted(missing))}")
    backend = Tokenizer(WordPiece(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{FIRST}:0 $A:0 {LAST}:0",
        pair=f"{FIRST}:0 $A:0 {LAST}:0 $B:1 {LAST}:1",
        special_tokens=[(FIRST, vocabulary[FIRST]), (LAST, vocabulary[LAST])],
    )
    backend.add_special_tokens(list(SPECIAL.values()))
    return backend


def _said(path: Path) -> dict[str, Any] | None:
    """What a JSON file says; nothing where it is not there, None where it is no object."""
    try:
        said = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
