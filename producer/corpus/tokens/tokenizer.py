"""A model's tokenizer as a corpus needs it: its files, its end-of-text token, and texts as tokens.

Knows the package tokenizers and not transformers, which is a worker's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from contract.errors import ModelUnavailable, UsageError
from contract.tunings.base_files import TEMPLATE_FILES, TOKENIZER, VOCABULARY_AND_MERGES, tokenizer_digest
from producer.long_prompts import start_token, tokenizer_folder

WANTED = (TOKENIZER, *VOCABULARY_AND_MERGES, *TEMPLATE_FILES, "config.json")
"""What is fetched of a model of the Hub."""


class CorpusTokenizer:
    """The tokenizer in a model's folder.

    Args:
        end_of_text: the token to put behind documents; None = the one at which the model ends its texts.

    Raises:
        UsageError: it cannot be read, or has no such token.
    """

    def __init__(self, folder: Path, end_of_text: str | None = None) -> None:
        self.folder = folder
        self._tokenizer = _load(folder)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.vocabulary = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.end_of_text = self._end_of_text(end_of_text)
        self.end_of_text_written = str(self._tokenizer.id_to_token(self.end_of_text))
        self.prefix = self._start_of_every_text()  # the tokens before every document
        self.prefix_written = str(self._tokenizer.id_to_token(self.prefix[0])) if self.prefix else ""

    def digest(self) -> str:
        """SHA-256 of the files that it is read from."""
        return tokenizer_digest(self.folder)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without any that would be put before or behind it."""
        return [one.ids for one in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Likewise, with the characters from which to which each token stands."""
        return [(one.ids, one.offsets) for one in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def _end_of_text(self, wanted: str | None) -> int:
        for token in [wanted] if wanted is not None else self._declared():
            known = self._tokenizer.token_to_id(token) if isinstance(token, str) else token
            if known is not None and 0 <= known < self.vocabulary:
                return int(known)
        if wanted is not None:
            raise UsageError(f"--end-of-text {wanted!r}: is no token of the tokenizer in {self.folder}; name one of it")
        raise UsageError(
            f"the tokenizer in {self.folder} names no end-of-text token, which tells where a document ends; name a "
            "token of its vocabulary for that with --end-of-text TOKEN"
        )

    def _declared(self) -> list[Any]:
        """The tokens at which the model ends its texts: what its configuration says, then its tokenizer's."""
        config, tokenizer = (_json_object(self.folder / name) for name in ("config.json", "tokenizer_config.json"))
        said = [config.get("eos_token_id"), _nested(config.get("text_config")).get("eos_token_id")]
        ids = [token for each in said for token in (each if isinstance(each, list) else [each])]
        written = tokenizer.get("eos_token")
        return [*ids, written.get("content") if isinstance(written, dict) else written]

    def _start_of_every_text(self) -> list[int]:
        """The token that the tokenizer puts before texts, where it does: prompts begin with it too."""
        alone, example = (self._tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        start = self._tokenizer.id_to_token(example[0]) if example[:1] != alone[:1] else None
        return example[:1] if start is not None and start == start_token(self.folder) else []


def find_tokenizer(model: str | Path) -> Path:
    """The folder of a model's tokenizer, fetched from the Hub where it is not on this machine.

    Args:
        model: a folder, or what `contract.names.model_name` returns.

    Raises:
        UsageError: there is none, or it is of a kind that cannot be read here.
        ModelUnavailable: it cannot be fetched.
    """
    name = str(model.absolute() if isinstance(model, Path) else model)
    known = None if Path(name).is_file() else tokenizer_folder(name)
    if not _is_readable(known) and not Path(name).is_absolute() and name != "demo":
        known = _fetched(name)
    if known is None or not _is_readable(known):
        raise UsageError(
            f"the model {name} has no {TOKENIZER} here, with which a corpus is prepared; save its tokenizer with "
            "transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)"
        )
    return known


def _is_readable(folder: Path | None) -> bool:
    if folder is None:
        return False
    return (folder / TOKENIZER).is_file() or all((folder / name).is_file() for name in VOCABULARY_AND_MERGES)


def _fetched(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise _missing_package("huggingface_hub") from None
    from contract.model_kinds.hub_model import HubModel

    model = HubModel.parse(name)
    try:
        return Path(snapshot_download(model.id, revision=model.revision, allow_patterns=list(WANTED)))
    except Exception as error:  # of whatever kind: HTTP's, the file system's, the package's own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelUnavailable(
            f"the tokenizer of {name} is not on this machine and cannot be fetched ({reason}); try again where the "
            "Hub can be reached, or give a model's folder"
        ) from error


def _load(folder: Path) -> Any:
    try:
        from tokenizers import ByteLevelBPETokenizer, Tokenizer
    except ImportError:
        raise _missing_package("tokenizers") from None
    try:
        if (folder / TOKENIZER).is_file():
            return Tokenizer.from_file(str(folder / TOKENIZER))
        vocabulary, merges = (str(folder / name) for name in VOCABULARY_AND_MERGES)
        loaded = ByteLevelBPETokenizer(vocabulary, merges)._tokenizer
        loaded.add_special_tokens(_special_names(folder, loaded))
        return loaded
    except Exception as error:  # tokenizers knows no other kind
        raise UsageError(f"{folder}: the tokenizer cannot be read ({error}); save it once more") from error


def _special_names(folder: Path, loaded: Any) -> list[str]:
    """Those of GPT-2's special tokens that a vocabulary has, which its merges do not make."""
    with suppress(OSError, ValueError):
        said = _json_object(folder / "special_tokens_map.json")
        names = {one.get("content") if isinstance(one, dict) else one for one in (*said.values(), "<|endoftext|>")}
        return sorted(name for name in names if isinstance(name, str) and loaded.token_to_id(name) is not None)
    return []


def _missing_package(name: str) -> UsageError:
    return UsageError(f"a corpus is prepared with the package {name}, which is not installed: pip install {name}")


def _nested(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _json_object(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return _nested(json.loads(path.read_bytes()))
    return {}
