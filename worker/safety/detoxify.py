"""Scoring texts with a Detoxify classifier: windows, mini-batches, one probability by label.

Builds the model through Detoxify's own `get_model_and_tokenizer`; what a score leads to is not known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from detoxify.detoxify import get_model_and_tokenizer

from contract.errors import InkmillError, ModelUnavailable
from contract.policy import LABELS
from worker.safety.checkpoint import Checkpoint, find_checkpoint, read_checkpoint
from worker.safety.configuration import find_configuration

BATCH_TOKENS = 4096
"""Most tokens of one forward pass, padding counted: some 100 MB of activations in a base-size model."""


@dataclass(frozen=True, slots=True)
class _Window:
    """What one row of a mini-batch reads: a whole text, or a part of a long one."""

    text: int  # place among the texts
    tokens: list[int]  # with its special tokens


class Classifier:
    """A loaded classifier. Its scores of a text depend on that text alone, but for float noise."""

    def __init__(self, name: str, checkpoint: Checkpoint, configuration: Path, device: torch.device) -> None:
        """Build the model; `load_classifier` is the way to get one.

        Raises:
            ModelUnavailable: checkpoint and configuration that do not fit, or labels that nobody knows.
        """
        self.name = name
        self.revision = checkpoint.revision
        columns = {label: column for column, label in enumerate(checkpoint.classes)}
        self.labels = tuple(label for label in LABELS if label in columns)
        self._columns = [columns[label] for label in self.labels]
        if not self.labels or len(checkpoint.classes) > checkpoint.num_classes:
            raise ModelUnavailable(
                f"{checkpoint.path}: {checkpoint.num_classes} outputs for the classes {checkpoint.classes}; "
                f"at least one has to be of {', '.join(LABELS)}, and there may not be more classes than outputs"
            )
        self.device = device
        self._model, self._tokenizer = _build(checkpoint, configuration)
        self._model.to(device)
        self._window = _window_length(self._model, self._tokenizer)
        self._tokenizing = threading.Lock()

    def score(self, texts: Sequence[str], after_batch: Callable[[], None] | None = None) -> list[dict[str, float]]:
        """Probability (0 to 1) by label of each text, in the order of the texts.

        A text longer than the model's positions is read in windows that overlap by half; each label takes its
        highest probability.

        Args:
            texts: any texts, empty ones too.
            after_batch: called after each mini-batch, as a sign of life.

        Raises:
            InkmillError: the model gave a score that is not a number.
        """
        if isinstance(texts, str):
            raise TypeError("score takes a sequence of texts, not one text")
        best = torch.zeros(len(texts), len(self.labels))  # [texts, labels]
        for batch in _mini_batches(self._windows(texts)):
            for window, probabilities in zip(batch, self._probabilities(batch), strict=True):
                best[window.text] = torch.maximum(best[window.text], probabilities)  # [labels]
            if after_batch:
                after_batch()
        return [dict(zip(self.labels, row, strict=True)) for row in best.tolist()]

    def _windows(self, texts: Sequence[str]) -> list[_Window]:
        if not texts:
            return []
        # A lone surrogate is no text: the tokenizer would refuse the whole batch for it.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        with self._tokenizing:  # the tokenizer keeps its truncation in itself, so threads have to take turns
            encoded = self._tokenizer(
                readable,
                truncation=True,
                max_length=self._window,
                stride=(self._window - self._tokenizer.num_special_tokens_to_add()) // 2,
                return_overflowing_tokens=True,
            )
        pairs = zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True)
        # A tokenizer without special tokens makes nothing of an empty text; the model needs one token.
        return [_Window(text, tokens or [self._padding]) for text, tokens in pairs]

    @property
    def _padding(self) -> int:
        # RoBERTa counts positions by the model's padding token, so the model decides, not the tokenizer.
        return int(self._model.config.pad_token_id or 0)

    @torch.inference_mode()
    def _probabilities(self, batch: Sequence[_Window]) -> torch.Tensor:
        """[windows, labels], on the CPU."""
        longest = max(len(window.tokens) for window in batch)
        tokens = torch.full((len(batch), longest), self._padding)  # [windows, longest]
        mask = torch.zeros_like(tokens)  # [windows, longest]
        for row, window in enumerate(batch):
            tokens[row, : len(window.tokens)] = torch.tensor(window.tokens)
            mask[row, : len(window.tokens)] = 1
        logits = self._model(input_ids=tokens.to(self.device), attention_mask=mask.to(self.device)).logits
        probabilities = torch.sigmoid(logits)[:, self._columns].cpu()  # [windows, labels]
        # Not a number is over no threshold: it would pass for clean.
        if not torch.isfinite(probabilities).all():
            raise InkmillError(f"the classifier {self.name} gave a score that is not a number")
        return probabilities


def load_classifier(
    name: str, device: str = "auto", threads: int | None = None, configuration: str | Path | None = None
) -> Classifier:
    """Load a classifier by a built-in name, "demo", or a checkpoint's path.

    Args:
        name: "original", "unbiased", "multilingual", "original-small", "unbiased-small", "demo", a checkpoint
            file of Detoxify's layout, or a folder that holds exactly one.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
        threads: torch's threads on the CPU, for the whole process; None leaves them as they are.
        configuration: folder of the base configuration and tokenizer; None looks beside the checkpoint, then
            in the Hub's cache, then on the Hub.

    Raises:
        ModelUnavailable: whatever is missing or broken, where, and what to do about it.
    """
    place = _device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint = read_checkpoint(find_checkpoint(name))
    asked = Path(configuration).expanduser() if configuration is not None else None
    if name == "demo" and asked is None:
        from worker.demo import CLASSIFIER_CONFIG_DIR

        asked = CLASSIFIER_CONFIG_DIR
    folder = find_configuration(checkpoint.path, checkpoint.model_type, asked)
    return Classifier(name, checkpoint, folder, place)


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ModelUnavailable(f"{device!r} is not a device; use auto, cpu, cuda or cuda:N") from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ModelUnavailable(f"there is no {device} here ({torch.cuda.device_count()} GPUs); use --device cpu")
    return place


def _build(checkpoint: Checkpoint, configuration: Path) -> tuple[Any, Any]:
    _check_classes(checkpoint)
    # transformers saved this buffer with the weights until 4.31, so older checkpoints hold it.
    weights = {key: value for key, value in checkpoint.state_dict.items() if not key.endswith(".position_ids")}
    try:
        # The local folder goes in as `model_type`. As `huggingface_config_path` it would be read a second time
        # without num_classes, and a base configuration, which has two labels, would not fit the weights.
        model, tokenizer = get_model_and_tokenizer(
            model_type=str(configuration.resolve()),
            model_name=checkpoint.model_name,
            tokenizer_name=checkpoint.tokenizer_name,
            num_classes=checkpoint.num_classes,
            state_dict=weights,
        )
    except Exception as error:  # transformers has no error of its own for what does not fit
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailable(
            f"{checkpoint.path}: cannot be built with the configuration in {configuration} ({reason}); "
            f"is it that of {checkpoint.model_type}?"
        ) from error
    _check_fit(checkpoint, configuration, model, tokenizer, weights)
    return model.float().eval(), tokenizer


def _check_classes(checkpoint: Checkpoint) -> None:
    # Both names come out of the file, and Detoxify takes any attribute of transformers by them.
    expected = {
        checkpoint.model_name: ("ForSequenceClassification", transformers.PreTrainedModel),
        checkpoint.tokenizer_name: ("Tokenizer", transformers.PreTrainedTokenizerBase),
    }
    for name, (kind, base) in expected.items():
        found = getattr(transformers, name, None) if kind in name else None
        if not (isinstance(found, type) and issubclass(found, base)):
            version = transformers.__version__
            raise ModelUnavailable(f"{checkpoint.path}: names {name}, which transformers {version} has not")


def _check_fit(
    checkpoint: Checkpoint, configuration: Path, model: Any, tokenizer: Any, weights: dict[str, torch.Tensor]
) -> None:
    """from_pretrained only logs what it does not find and draws it at random, so what it loaded is compared."""
    loaded = model.state_dict()
    wrong = sorted(weights.keys() - loaded.keys()) + [
        key
        for key, value in loaded.items()
        if key not in weights or not torch.equal(value, weights[key].to(value.dtype))
    ]
    if wrong:
        raise ModelUnavailable(
            f"{checkpoint.path}: {len(wrong)} weights do not fit {checkpoint.model_name} with the configuration "
            f"in {configuration}, the first is {wrong[0]}; the scores would be noise. Is it that of "
            f"{checkpoint.model_type}?"
        )
    largest = max(tokenizer.get_vocab().values(), default=0)
    if not tokenizer.is_fast or largest >= model.config.vocab_size:
        raise ModelUnavailable(
            f"{configuration}: its tokenizer ({type(tokenizer).__name__}, ids up to {largest}) does not fit a model "
            f"of {model.config.vocab_size} tokens; put {checkpoint.model_type}'s own tokenizer files there"
        )


def _window_length(model: Any, tokenizer: Any) -> int:
    """Most tokens, special ones counted, that the model reads at once."""
    positions = int(model.config.max_position_embeddings)
    for module_name, module in model.named_modules():
        # RoBERTa's positions begin after the padding token's: its 514 hold 512 tokens.
        if module_name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    return min(positions, int(tokenizer.model_max_length))


def _mini_batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Windows of like length together, longest first, each batch within BATCH_TOKENS once padded."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda window: len(window.tokens), reverse=True):
        if batch and (len(batch) + 1) * len(batch[0].tokens) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
