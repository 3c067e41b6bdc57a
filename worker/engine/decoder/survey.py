"""What a network's layers ask of attention, found out by one short forward pass; nothing is known of families.

What is asked for and not understood makes the network unsupported: it must not be passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.pytorch_utils import Conv1D

SURVEY = "inkmill-survey"  # the name of an attention implementation of transformers
TOKENS = 8
UNDERSTOOD = ("scaling", "softcap", "s_aux", "sliding_window", "position_ids", "is_causal", "position_embeddings")
"""What layers may tell attention. The window is read from the mask; positions are known, and rotated by already."""


class Unsupported(Exception):
    """Why the slot engine does not run a network; it completes "because".

    Attributes:
        spent: whether the network was changed meanwhile, and nothing else can run it.
    """

    spent = False


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """What one layer asks for."""

    module: torch.nn.Module  # whose layer it is
    heads: int
    groups: int
    head_dim: int
    scale: float
    window: int | None  # positions that a row sees, itself the last; None = all
    cap: float  # 0 = none
    sinks: torch.Tensor | None  # [heads]


@dataclass(frozen=True, slots=True)
class Survey:
    """What serving a network takes."""

    calls: tuple[AttentionCall, ...]  # a layer's each, in order
    positions: int
    vocabulary: int

    @property
    def first(self) -> AttentionCall:
        return self.calls[0]


@dataclass(frozen=True, slots=True)
class _Mask:
    """Stands for a mask in the survey."""

    window: int | None


@torch.inference_mode()
def survey(network: Any) -> Survey:
    """
    Raises:
        Unsupported: its layers ask for something that the slot engine does not have.
    """
    positions = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(positions, int):
        raise Unsupported("its configuration does not say how many positions it has")
    _refuse_other_weights(network)
    calls: list[AttentionCall] = []

    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,  # [1, heads, rows, head_dim]
        key: torch.Tensor,  # [1, groups, rows, head_dim]
        value: torch.Tensor,
        attention_mask: Any,
        **others: Any,
    ) -> tuple[torch.Tensor, None]:
        calls.append(_call(module, query, key, value, attention_mask, others))
        return value.new_zeros(1, query.shape[2], query.shape[1], value.shape[3]), None

    with recording(network, attend, positions):
        try:
            logits = run_once(network)
        except Unsupported:
            raise
        except Exception as error:  # whatever a model's code says of arguments that it does not know
            raise Unsupported(f"its layers cannot be run with another attention ({error})") from error
    _refuse_unlike(calls)
    if logits.shape[1] != 1:
        raise Unsupported("it cannot leave out the logits of some rows")
    return Survey(tuple(calls), positions, logits.shape[-1])


def _refuse_other_weights(network: Any) -> None:
    """Experts, convolutions and recurrent layers have weights of more than one dimension outside linear layers."""
    for name, module in network.named_modules():
        if not isinstance(module, torch.nn.Linear | torch.nn.Embedding | Conv1D):
            for part, weight in module.named_parameters(recurse=False):
                if weight.dim() > 1:
                    raise Unsupported(f"{name}.{part} is no linear layer's (experts, convolutions, recurrent layers)")


def run_once(network: Any, first: int = 0) -> torch.Tensor:
    """The logits of a few tokens' last, [1, 1, vocabulary], with whatever attention is set.

    Args:
        first: the first one's position.
    """
    tokens, places = torch.arange(TOKENS)[None], torch.arange(first, first + TOKENS)[None]
    kept = torch.tensor([TOKENS - 1])
    logits: torch.Tensor = network(input_ids=tokens, position_ids=places, use_cache=False, logits_to_keep=kept).logits
    return logits


@contextmanager
def recording(network: Any, attend: Callable[..., tuple[torch.Tensor, None]], positions: int) -> Iterator[None]:
    """Lets a network's layers call `attend` for their attention, with the window that their mask says."""

    def mask(*_: Any, mask_function: Any, **__: Any) -> _Mask:
        return _Mask(_window(mask_function, positions))

    ALL_ATTENTION_FUNCTIONS.register(SURVEY, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(SURVEY, mask)
    before = network.config._attn_implementation
    network.set_attn_implementation(SURVEY)
    try:
        yield
    finally:
        network.set_attn_implementation(before)


def _call(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: Any,
    others: dict[str, Any],
) -> AttentionCall:
    told = {name: value for name, value in others.items() if isinstance(value, torch.Tensor) or value}
    unknown = sorted(name for name in told if name not in UNDERSTOOD)
    if unknown:
        raise Unsupported(f"its layers tell attention {unknown[0]!r}, which is not known here")
    if not isinstance(mask, _Mask):
        raise Unsupported("it makes its attention masks by itself")
    if not query.shape[2] == key.shape[2] == value.shape[2] == TOKENS or key.shape != value.shape:
        raise Unsupported("its keys and values differ in shape, or are not one a token")
    scale = told.get("scaling", query.shape[3] ** -0.5)
    return AttentionCall(
        module=module,
        heads=query.shape[1],
        groups=key.shape[1],
        head_dim=query.shape[3],
        scale=float(scale),
        window=mask.window,
        cap=float(told.get("softcap", 0.0)),
        sinks=told.get("s_aux"),
    )


def _window(mask_function: Any, positions: int) -> int | None:
    """How far a mask lets rows look back; None = to the beginning.

    Raises:
        Unsupported: it is no such mask.
    """
    seen = {row: _seen(mask_function, row, positions) for row in _sampled_rows(positions)}
    last = positions - 1
    window = int(seen[last].sum())
    for row, visible in seen.items():
        places = torch.arange(positions)
        if not torch.equal(visible, (places <= row) & (places > row - window)):
            raise Unsupported("its rows see something other than the positions before them, or the nearest of these")
    return None if window == positions else window


def _sampled_rows(positions: int) -> set[int]:
    """Rows by which any other mask shows: the first, the last, and some beside halves and quarters."""
    parts = {positions * part // 8 + beside for part in range(9) for beside in (-1, 0, 1)}
    return {row for row in parts | {0, 1, positions - 1} if 0 <= row < positions}


def _seen(mask_function: Any, row: int, positions: int) -> torch.Tensor:
    zero = torch.tensor(0)
    visible = mask_function(zero, zero, torch.tensor(row), torch.arange(positions))
    return torch.as_tensor(visible, dtype=torch.bool).expand(positions)


def _refuse_unlike(calls: list[AttentionCall]) -> None:
    if not calls:
        raise Unsupported("its layers do not take their attention from transformers' registry")
    if len({id(call.module) for call in calls}) < len(calls):
        raise Unsupported("some of its layers are run more than once")
    if len({(call.groups, call.head_dim) for call in calls}) > 1:
        raise Unsupported("its layers' keys differ in shape")
