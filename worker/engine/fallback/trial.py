"""Whether a network may write texts in groups: padded texts come out as unpadded ones, and with the same bits beside
whatever others.

Tried with some texts, on this machine: it is no proof, which is why the provenance of what groups write names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers

from worker.engine.compiled.kept_results import kept_result
from worker.engine.decoder.survey import Unsupported
from worker.engine.decoder.trial import EXACT
from worker.engine.fallback.experts import EXPERTS
from worker.engine.fallback.group import ROWS, Group, PaddedModel, Shape
from worker.engine.load.casting import cast

SHAPE = Shape(ROWS, 64)  # two chunks of prompts
STEPS = 4
LENGTHS = tuple(range(1, SHAPE.width, 4))
"""Of the texts; the trial takes them in this order and in others."""

Texts = list[list[int]]


def why_one_by_one(network: Any, device: torch.device, dtype: torch.dtype, revision: Callable[[], str]) -> str | None:
    """Why a network cannot write in groups; None where it can. The reason completes "because".

    Args:
        network: of transformers, float32, on the CPU; it comes out on the device and in the dtype that are served, and
            where the answer is None, ready for groups.
        revision: names its weights.
    """
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    kind = (revision(), transformers.__version__, str(dtype), where, torch.get_num_threads())
    try:
        with _as_groups_need_it(network) as keep:
            reason = kept_result(
                "groups",
                kind,
                lambda: _verdict(network, device, dtype),
                lambda known: known is None or isinstance(known, str),
            )
            cast(network, device, dtype)
            keep(reason is None)
    except Exception as error:  # whatever a model's code says of padding, or what lacks for a moment
        cast(network, device, dtype)
        return f"a trial of it failed ({type(error).__name__}: {error})"
    return None if reason is None else str(reason)


@contextmanager
def _as_groups_need_it(network: Any) -> Iterator[Callable[[bool], None]]:
    """With attention that computes each text for itself (torch's fused one rounds otherwise in other rows), and experts
    that do so with each token. Gives a function that says whether it shall stay so."""
    attention, experts = network.config._attn_implementation, getattr(network.config, "_experts_implementation", None)
    stays = False

    def keep(wanted: bool) -> None:
        nonlocal stays
        stays = wanted

    _set(network, "eager", EXPERTS)
    try:
        yield keep
    finally:
        if not stays:
            _set(network, attention, experts)


def _set(network: Any, attention: str, experts: str | None) -> None:
    if getattr(network, "_can_set_attn_implementation", bool)():
        network.set_attn_implementation(attention)
    if experts is not None and getattr(network, "_can_set_experts_implementation", bool)():
        network.set_experts_implementation(experts)


def _verdict(network: Any, device: torch.device, dtype: torch.dtype) -> str | None:
    try:
        error = _padding_error(PaddedModel(network))
    except Unsupported as reason:
        return str(reason)
    if not error <= EXACT:
        return f"its logits are off by {error:.2g} of the largest where a text is padded"
    cast(network, device, dtype)
    if not _same_in_company(PaddedModel(network)):
        return f"a text's bits depend on the texts beside it in {str(dtype).removeprefix('torch.')}"
    return None


def _padding_error(model: PaddedModel) -> float:
    """How far padded texts' logits are from unpadded ones', as a share of the largest."""
    texts, written = _texts(model), _written(model)
    padded = _logits(model, texts)
    places = (0, len(texts) // 2, len(texts) - 1)
    plain = torch.stack([_unpadded(model, [*texts[place], *written[place]]) for place in places])
    return float((padded[list(places)] - plain).abs().max() / plain.abs().max())


@torch.inference_mode()
def _unpadded(model: PaddedModel, text: list[int]) -> torch.Tensor:
    """[steps, vocabulary], transformers' own, of a text's last tokens; the last of all is not looked at."""
    tokens = torch.tensor([text[:-1]])
    logits: torch.Tensor = model.network(input_ids=tokens, use_cache=False).logits[0, -STEPS:].float()
    return logits


def _same_in_company(model: PaddedModel) -> bool:
    """Whether texts come out alike in other rows, beside other texts, with none, and beside one at the window's end."""
    texts = _texts(model)
    together = _logits(model, texts)
    if not torch.equal(_logits(model, texts[::-1]).flip(0), together):
        return False
    for place in (0, len(texts) - 1):
        if not torch.equal(_logits(model, [texts[place]])[0], together[place]):
            return False
    far = torch.zeros(ROWS, dtype=torch.long)
    far[ROWS // 2 :] = max(0, model.positions - SHAPE.width - STEPS)
    return torch.equal(_logits(model, texts, far)[: ROWS // 2], together[: ROWS // 2])


def _texts(model: PaddedModel) -> Texts:
    """Texts of random tokens, as long as the window allows."""
    numbers = torch.Generator().manual_seed(0)
    longest = min(SHAPE.width, model.positions - STEPS)
    return [
        torch.randint(0, model.vocabulary, (min(length, longest),), generator=numbers).tolist() for length in LENGTHS
    ]


def _written(model: PaddedModel) -> Texts:
    """What is taken to be sampled behind each of them."""
    numbers = torch.Generator().manual_seed(1)
    written: Texts = torch.randint(0, model.vocabulary, (len(LENGTHS), STEPS), generator=numbers).tolist()
    return written


def _logits(model: PaddedModel, texts: Texts, ahead: torch.Tensor | None = None) -> torch.Tensor:
    """[texts, steps, vocabulary]."""
    behind = {tuple(text): tokens for text, tokens in zip(_texts(model), _written(model), strict=True)}
    group = Group(model, SHAPE, dict(enumerate(texts)), ahead)
    steps: list[torch.Tensor] = []
    while len(steps) < STEPS:
        newest = {row: behind[tuple(text)][len(steps) - 1] for row, text in enumerate(texts)} if steps else {}
        logits = group.forward(newest)
        if logits is not None:
            steps.append(logits)
    return torch.stack(steps, dim=1)[: len(texts)]
