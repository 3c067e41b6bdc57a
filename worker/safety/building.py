"""From a checkpoint to the model and the tokenizer it describes, and whether the parts fit together.

Builds through Detoxify's own `get_model_and_tokenizer`. How a text is read and scored is not known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from detoxify.detoxify import get_model_and_tokenizer

from contract.errors import ModelUnavailable
from worker.own_code import refuse_kernels
from worker.safety.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, configuration: Path) -> tuple[Any, Any]:
    """The model (float32, on the CPU) and its tokenizer.

    Args:
        configuration: folder of the base configuration and the tokenizer.

    Raises:
        ModelUnavailable: what transformers does not know, or parts that do not fit together.
    """
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    _check_classes(checkpoint)
    refuse_kernels(configuration)
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


def window_length(model: Any, tokenizer: Any) -> int:
    """Most tokens, special ones counted, that the model reads at once."""
    positions = int(model.config.max_position_embeddings)
    for module_name, module in model.named_modules():
        # RoBERTa's positions begin after the padding token's: its 514 hold 512 tokens.
        if module_name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    return min(positions, int(tokenizer.model_max_length))
