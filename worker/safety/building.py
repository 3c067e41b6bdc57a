"""From any checkpoint to the model and the tokenizer it describes, and whether the parts fit together.

Builds through Detoxify's own `get_model_and_tokenizer`, and so through transformers. How a text is scored is not known
here.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from detoxify.detoxify import get_model_and_tokenizer
from torch import nn

from contract.errors import ModelUnavailable
from worker.model_files import config_and_tokenizer_files, isolated_folder
from worker.safety.checkpoint import Checkpoint
from worker.safety.network import Encoder
from worker.safety.row_invariance import Head

LAYERS = {
    "albert": "encoder.albert_layer_groups",
    "bert": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
}
"""Where a family of Detoxify's own checkpoints has its layers. Any other runs as transformers has it, in float32."""


class SequenceClassifier(nn.Module):
    """A model of transformers, called with positional tensors, giving its logits alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Token ids [rows, length] to logits [rows, outputs]."""
        logits: torch.Tensor = self.model(input_ids=tokens, attention_mask=mask).logits
        return logits


class WindowTokenizer:
    """Texts to windows of tokens, by a tokenizer of transformers. Threads may share it."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        """
        Args:
            max_length: most tokens of a window, special ones counted.
        """
        self.max_length = max_length
        self._tokenizer, self._lock = tokenizer, threading.Lock()

    def windows(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """Of each text its windows, each of up to `max_length` tokens; neighbours overlap by half."""
        windows: list[list[list[int]]] = [[] for _ in texts]
        if not windows:
            return windows
        with self._lock:  # the tokenizer keeps its truncation in itself, so threads have to take turns
            encoded = self._tokenizer(
                list(texts),
                truncation=True,
                max_length=self.max_length,
                stride=(self.max_length - self._tokenizer.num_special_tokens_to_add()) // 2,
                return_overflowing_tokens=True,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
        for text, tokens in zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True):
            windows[text].append(tokens)
        return windows


def build(checkpoint: Checkpoint, configuration: Path) -> tuple[Encoder, WindowTokenizer]:
    """The network (float32, on the CPU) and its tokenizer.

    Args:
        configuration: folder of the base configuration and the tokenizer; `refuse_kernels` has looked at it.

    Raises:
        ModelUnavailable: what transformers does not know, or parts that do not fit together.
    """
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    _check_classes(checkpoint)
    # transformers saved this buffer with the weights until 4.31, so older checkpoints hold it.
    weights = {key: value for key, value in checkpoint.state_dict.items() if not key.endswith(".position_ids")}
    try:
        # The local folder goes in as `model_type`. As `huggingface_config_path` it would be read a second time
        # without num_classes, and a base configuration, which has two labels, would not fit the weights.
        files = config_and_tokenizer_files(configuration)
        with isolated_folder([configuration / name for name in files]) as place:
            model, tokenizer = get_model_and_tokenizer(
                model_type=str(place),
                model_name=checkpoint.model_name,
                tokenizer_name=checkpoint.tokenizer_name,
                num_classes=checkpoint.num_classes,
                state_dict=weights,
            )
    except ModelUnavailable:
        raise
    except Exception as error:  # transformers has no error of its own for what does not fit
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailable(
            f"{checkpoint.path}: cannot be built with the configuration in {configuration} ({reason}); "
            f"is it that of {checkpoint.model_type}?"
        ) from error
    _check_fit(checkpoint, configuration, model, tokenizer, weights)
    return encoder(model.float().eval()), WindowTokenizer(tokenizer, _window_length(model, tokenizer))


def encoder(model: Any) -> Encoder:
    """A model of transformers for sequence classification, as the scoring takes it."""
    kind = model.config.model_type
    layers = model.base_model.get_submodule(LAYERS[kind]) if kind in LAYERS else None
    if layers is not None:
        _separate_head(model)
    # RoBERTa counts positions by the model's padding token, so the model decides, not the tokenizer.
    padding = int(model.config.pad_token_id or 0)
    return Encoder(SequenceClassifier(model), layers, int(model.config.hidden_size), padding)


def _separate_head(model: Any) -> None:
    """Has windows go through what makes one result of each in groups of one size."""
    model.classifier = Head(model.classifier)
    for name in ("pooler", "pooler_activation"):
        if isinstance(part := getattr(model.base_model, name, None), nn.Module):
            setattr(model.base_model, name, Head(part))


def _check_classes(checkpoint: Checkpoint) -> None:
    # Both names come out of the file, and Detoxify takes any attribute of transformers by them.
    expected = {
        checkpoint.model_name: ("ForSequenceClassification", transformers.PreTrainedModel),
        checkpoint.tokenizer_name: ("Tokenizer", transformers.PreTrainedTokenizerBase),
    }
    for name, (kind, base) in expected.items():
        named = getattr(transformers, name, None) if kind in name else None
        if not (isinstance(named, type) and issubclass(named, base)):
            version = transformers.__version__
            raise ModelUnavailable(f"{checkpoint.path}: names {name}, which transformers {version} has not")


def _check_fit(
    checkpoint: Checkpoint, configuration: Path, model: Any, tokenizer: Any, weights: dict[str, torch.Tensor]
) -> None:
    """from_pretrained only logs what it does not find and draws it at random, so what it loaded is compared."""
    loaded = model.state_dict()
    mismatched = sorted(weights.keys() - loaded.keys()) + [
        key
        for key, value in loaded.items()
        if key not in weights or not torch.equal(value, weights[key].to(value.dtype))
    ]
    if mismatched:
        raise ModelUnavailable(
            f"{checkpoint.path}: {len(mismatched)} weights do not fit {checkpoint.model_name} with the configuration "
            f"in {configuration}, the first is {mismatched[0]}; the scores would be noise. Is it that of "
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
