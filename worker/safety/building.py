"""From any checkpoint to the model and the tokenizer it describes, and whether the parts fit together.

Builds through Detoxify's own `get_model_and_tokenizer`, and so through transformers, which takes seconds to import:
what `worker.safety.bert` can read does not come here. How a text is scored is not known here.
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

LAYERS = {
    "albert": "encoder.albert_layer_groups",
    "bert": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
}
"""Where a family of Detoxify's own checkpoints has its layers. Any other runs as transformers has it, in float32."""


class Whole(nn.Module):
    """A model of transformers, called as ours are."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Token ids [rows, length] to logits [rows, outputs]."""
        logits: torch.Tensor = self.model(input_ids=tokens, attention_mask=mask).logits
        return logits


class LibraryReader:
    """Texts to tokens, by a tokenizer of transformers."""

    def __init__(self, tokenizer: Any, longest: int) -> None:
        self.longest = longest
        self._tokenizer, self._turn = tokenizer, threading.Lock()

    def windows(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """Of each text its windows, each of up to `longest` tokens; neighbours overlap by half."""
        found: list[list[list[int]]] = [[] for _ in texts]
        if not found:
            return found
        with self._turn:  # the tokenizer keeps its truncation in itself, so threads have to take turns
            encoded = self._tokenizer(
                list(texts),
                truncation=True,
                max_length=self.longest,
                stride=(self.longest - self._tokenizer.num_special_tokens_to_add()) // 2,
                return_overflowing_tokens=True,
            )
        for text, tokens in zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True):
            found[text].append(tokens)
        return found


def build(checkpoint: Checkpoint, configuration: Path) -> tuple[Encoder, LibraryReader]:
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
        with isolated_folder(configuration, config_and_tokenizer_files(configuration)) as place:
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
    return encoder(model.float().eval()), LibraryReader(tokenizer, window_length(model, tokenizer))


def encoder(model: Any) -> Encoder:
    """A model of transformers for sequence classification, as the scoring takes it."""
    kind = model.config.model_type
    layers = model.base_model.get_submodule(LAYERS[kind]) if kind in LAYERS else None
    # RoBERTa counts positions by the model's padding token, so the model decides, not the tokenizer.
    padding = int(model.config.pad_token_id or 0)
    return Encoder(Whole(model), layers, int(model.config.hidden_size), padding)


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


def window_length(model: Any, tokenizer: Any) -> int:
    """Most tokens, special ones counted, that the model reads at once."""
    positions = int(model.config.max_position_embeddings)
    for module_name, module in model.named_modules():
        # RoBERTa's positions begin after the padding token's: its 514 hold 512 tokens.
        if module_name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    return min(positions, int(tokenizer.model_max_length))
