"""Scoring texts with a Detoxify classifier: windows, mini-batches, one probability by label.

What a score leads to is not known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from contract.errors import InkmillError, ModelUnavailable
from contract.policy import LABELS
from contract.spec import DEVICE_CHOICES
from worker.model_files import REVISION_DIGITS, config_and_tokenizer_files, hash_files, refuse_changes
from worker.remote_code import refuse_remote_kernels
from worker.safety.batches import Batch, Window, mini_batches
from worker.safety.building import build
from worker.safety.checkpoint import Checkpoint, find_checkpoint, read_checkpoint
from worker.safety.configuration import find_configuration
from worker.safety.network import DTYPES, Network

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Most tokens of one forward pass, padding counted. On a CPU more of them leave its caches, and are slower."""

MULTIPLE = {"cpu": 8, "cuda": 32}
"""Texts are padded to a multiple of this many tokens, so that batches have few shapes and fill whole blocks of rows."""


class Classifier:
    """A loaded classifier.

    The scores of a text depend on that text, the device, its dtype and the number of threads: never on where it stands
    or what stands beside it. (On a GPU, and in a classifier of another family than Detoxify's own, up to 1e-6.)
    """

    def __init__(
        self, name: str, checkpoint: Checkpoint, configuration: Path, device: torch.device, dtype: str = "auto"
    ) -> None:
        """Build the model; `load_classifier` is the way to get one.

        Raises:
            ModelUnavailable: checkpoint and configuration that do not fit, or labels that nobody knows.
        """
        self.name = name
        self.revision = _revision(checkpoint, configuration)
        columns = {label: column for column, label in enumerate(checkpoint.classes)}
        self.labels = tuple(label for label in LABELS if label in columns)
        self._columns = [columns[label] for label in self.labels]
        if not self.labels or len(checkpoint.classes) > checkpoint.num_classes:
            raise ModelUnavailable(
                f"{checkpoint.path}: {checkpoint.num_classes} outputs for the classes {checkpoint.classes}; "
                f"at least one has to be of {', '.join(LABELS)}, and there may not be more classes than outputs"
            )
        refuse_remote_kernels(configuration)
        encoder, self._tokenizer = build(checkpoint, configuration)
        self._network = Network(encoder, device, dtype)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self._network.dtype

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
        for batch in self._batches(texts):
            for window, probabilities in zip(batch.windows, self._probabilities(batch), strict=True):
                best[window.text] = torch.maximum(best[window.text], probabilities)  # [labels]
            if after_batch:
                after_batch()
        return [dict(zip(self.labels, row, strict=True)) for row in best.tolist()]

    def _batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        kind = self._network.device.type
        return mini_batches(
            self._windows(texts), multiple=MULTIPLE[kind], longest=self._tokenizer.max_length, budget=BATCH_TOKENS[kind]
        )

    def _windows(self, texts: Sequence[str]) -> list[Window]:
        # A lone surrogate is no text: the tokenizer would refuse the whole batch for it.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        # A tokenizer without special tokens makes nothing of an empty text; the model needs one token.
        return [
            Window(text, tokens or [self._network.padding])
            for text, windows in enumerate(self._tokenizer.windows(readable))
            for tokens in windows
        ]

    def _probabilities(self, batch: Batch) -> torch.Tensor:
        """[windows, labels], on the CPU."""
        probabilities = self._network.probabilities(batch)[:, self._columns]
        # Not a number is over no threshold: it would pass for clean.
        if not torch.isfinite(probabilities).all():
            raise InkmillError(f"the classifier {self.name} gave a score that is not a number")
        return probabilities


def _revision(checkpoint: Checkpoint, configuration: Path) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over the checkpoint's own hash, the configuration and the
    tokenizer's files: each of them changes scores.
    """
    files = hash_files(
        configuration, config_and_tokenizer_files(configuration), hashlib.sha256(checkpoint.revision.encode())
    )
    return str(files.hexdigest()[:REVISION_DIGITS])


def load_classifier(name: str, device: str = "auto", dtype: str = "auto") -> Classifier:
    """Load a classifier by a built-in name, "demo", or a checkpoint's path.

    Args:
        name: "original", "unbiased", "multilingual", "original-small", "unbiased-small", "demo", a checkpoint
            file of Detoxify's layout, or a folder that holds exactly one.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
        dtype: "auto" (bfloat16 where the device has it in hardware, else float32), "fp32" or "bf16".

    Raises:
        ModelUnavailable: whatever is missing or broken, where, and what to do about it.
    """
    place = _device(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise ModelUnavailable(f"a classifier has no dtype {dtype!r}; use auto, fp32 or bf16")
    path = find_checkpoint(name)
    with refuse_changes([path]):
        checkpoint = read_checkpoint(path)
    folder = find_configuration(checkpoint.path, checkpoint.model_type)
    with refuse_changes([folder / file for file in config_and_tokenizer_files(folder)]):
        return Classifier(name, checkpoint, folder, place, dtype)


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ModelUnavailable(f"{device!r} is not a device; use {DEVICE_CHOICES}") from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ModelUnavailable(f"there is no {device} here ({torch.cuda.device_count()} GPUs); use --device cpu")
    return place
