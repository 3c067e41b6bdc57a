"""The forward pass against transformers' on the same weights, and its rows against their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import Tiny, load_tiny, make_gpt2

from contract.spec import DTYPES
from worker.engine.cpu.gpt2 import GPT2, supports
from worker.engine.cpu.linear import (
    BLOCK,
    Activations,
    BlockedLinear,
    Products,
    activations,
    linear,
    row_multiple,
    trial_rows,
)
from worker.engine.cpu.quantise import ZERO
from worker.engine.forward import Rows

PROMPTS = ["Once upon a time", "x", "The river turned the wheel, and the wheel turned the stone. " * 3]

SHAPES: list[dict[str, Any]] = [
    {},
    {"n_embd": 48, "n_head": 3, "n_inner": 100, "n_layer": 3, "layer_norm_epsilon": 1e-3},
    {"n_embd": 36, "n_head": 6, "n_positions": 100, "activation_function": "gelu_pytorch_tanh"},
    {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True, "n_layer": 3},
    {"scale_attn_weights": False},
    {"tie_word_embeddings": False},
]

ODD: dict[str, Any] = {"n_embd": 36, "n_head": 6, "n_inner": 50, "n_positions": 100}


def tokens_of(tiny: Tiny, prompt: str) -> list[int]:
    return tiny.vocabulary.encode(prompt)[:90]


class Writing:
    """A model with a cache, computing chosen positions of chosen sequences."""

    def __init__(self, model: GPT2, slots: int = 1) -> None:
        self.model, self.cache, self.slots = model, model.new_cache(slots), slots

    def compute(self, *parts: tuple[int, list[int], int]) -> np.ndarray:
        """(slot, tokens, first position) of each part, whose last logits are returned: [parts, vocabulary]."""
        for slot, tokens, start in parts:
            self.cache.reserve(slot, start + len(tokens))
        ends = np.cumsum([len(tokens) for _, tokens, _ in parts])
        rows = Rows(
            tokens=np.concatenate([np.array(tokens) for _, tokens, _ in parts]),
            positions=np.concatenate([np.arange(start, start + len(tokens)) for _, tokens, start in parts]),
            slots=np.concatenate([np.full(len(tokens), slot) for slot, tokens, _ in parts]),
            wanted=ends - 1,
        )
        logits = self.model.forward(rows, self.cache)
        scales = 1 if logits.scales is None else logits.scales[:, None]
        return logits.values.float().numpy() * scales + logits.offsets[:, None]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: ",".join(shape) or "plain")
def test_logits_equal_those_of_transformers(shape: dict[str, Any], tmp_path: Path) -> None:
    tiny = load_tiny(make_gpt2(tmp_path, **shape))
    writing = Writing(tiny.model, 4)
    for slot, prompt in enumerate(PROMPTS):
        tokens = tokens_of(tiny, prompt)
        expected = tiny.reference(torch.tensor([tokens])).logits[0].detach().numpy()  # [length, vocabulary]
        close = 1e-4 * max(1.0, float(expected.std()))
        for position, token in enumerate(tokens):
            (logits,) = writing.compute((slot, [token], position))
            np.testing.assert_allclose(logits, expected[position], atol=close, rtol=0)
        writing.cache.release(3)
        (logits,) = writing.compute((3, tokens, 0))
        np.testing.assert_allclose(logits, expected[-1], atol=close, rtol=0)


@pytest.mark.parametrize(("dtype", "share"), [("bf16", 0.1), ("int8", 0.15)])
def test_logits_of_lower_dtypes_lie_near_those_of_float32(checkpoint: Path, dtype: str, share: float) -> None:
    full, lower = load_tiny(checkpoint), load_tiny(checkpoint, dtype)
    tokens = tokens_of(full, PROMPTS[0])
    (expected,) = Writing(full.model).compute((0, tokens, 0))
    (logits,) = Writing(lower.model).compute((0, tokens, 0))
    assert 0 < np.abs(logits - expected).max() < share * expected.std()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [{}, ODD], ids=["plain", "odd"])
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(dtype: str, shape: dict[str, Any], tmp_path: Path) -> None:
    tiny = load_tiny(make_gpt2(tmp_path, **shape), dtype)
    lengths = [1 + 3 * slot for slot in range(25)]
    tokens = {slot: [(7 * slot + i) % 300 for i in range(length + 1)] for slot, length in enumerate(lengths)}
    rows: dict[int, set[bytes]] = {slot: set() for slot in tokens}
    groups: list[list[int]] = [[*tokens], [24, 0, 13], [*range(9)], [*reversed(range(11, 25))], [3], [17], [24]]
    for cut, group in enumerate(groups):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            tiny.model.threads = threads
            writing = Writing(tiny.model, 25)
            places = [(slot + len(group)) % 25 for slot in group]
            for start in range(0, 80, cut * 5 + 6):  # a prompt in parts, beside parts of others
                parts = [
                    (place, tokens[slot][start : min(start + cut * 5 + 6, lengths[slot])], start)
                    for slot, place in zip(group, places, strict=True)
                    if start < lengths[slot]
                ]
                if parts:
                    writing.compute(*parts)
            last = [(place, tokens[slot][-1:], lengths[slot]) for slot, place in zip(group, places, strict=True)]
            for slot, logits in zip(group, writing.compute(*last), strict=True):
                rows[slot].add(logits.tobytes())
    torch.set_num_threads(2)
    tiny.model.threads = 2
    assert {len(variants) for variants in rows.values()} == {1}


def test_what_lies_in_the_cache_of_sequences_that_are_gone_changes_nothing(checkpoint: Path) -> None:
    tiny = load_tiny(checkpoint)
    tokens = tokens_of(tiny, PROMPTS[0])
    (expected,) = Writing(tiny.model).compute((0, tokens, 0))
    writing = Writing(tiny.model)
    writing.cache.keys.fill_(torch.nan)
    writing.cache.values.fill_(torch.nan)
    np.testing.assert_array_equal(writing.compute((0, tokens, 0))[0], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", [8, 32, 35])
def test_a_shared_beginning_gives_the_bits_of_a_computed_one(checkpoint: Path, dtype: str, shared: int) -> None:
    tiny = load_tiny(checkpoint, dtype)
    tokens = tokens_of(tiny, PROMPTS[2])
    (expected,) = Writing(tiny.model).compute((0, tokens, 0))
    writing = Writing(tiny.model, 3)
    writing.compute((1, tokens[:-5], 0))
    writing.cache.share(1, 2, shared)
    writing.compute((1, [7, 8, 9], len(tokens) - 5))  # the source goes its own way
    (logits,) = writing.compute((2, tokens[shared:], shared))
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "outputs"), [(36, 108), (64, 192), (768, 2304), (768, 768), (3072, 768)])
@pytest.mark.parametrize("gelu", [False, True])
def test_linear_layers_are_bit_identical_for_every_padded_number_of_rows(
    inputs: int, outputs: int, gelu: bool, dtype: str
) -> None:
    torch.manual_seed(0)
    layer = linear(torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs), dtype, 2)
    rows = trial_rows(inputs, dtype, 2)
    multiple = row_multiple(layer.activated if gelu else layer, rows)
    variants = set()
    for count in range(multiple, 257, multiple * 3) if multiple else range(BLOCK, 257, BLOCK):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            used = layer if multiple else BlockedLinear(layer)
            few = Activations(rows.values[-count:].clone(), rows.scales[-count:])
            result = used.activated(few) if gelu else used(few)
            variants.add(result.values[-1].float().numpy().tobytes() + result.scales[-1:].tobytes())
    torch.set_num_threads(2)
    assert len(variants) == 1


def as_float(result: Products | Activations) -> torch.Tensor:
    """The numbers that these stand for."""
    if not len(result.scales):
        return result.values.float()
    scales = torch.from_numpy(result.scales)[:, None]
    if isinstance(result, Activations):
        return (result.values.float() - ZERO) * scales
    return result.values * scales + torch.from_numpy(result.shift)


@pytest.mark.parametrize(("dtype", "close"), [("fp32", 1e-5), ("bf16", 2e-2), ("int8", 3e-2)])
@pytest.mark.parametrize("gelu", [False, True])
def test_linear_layers_compute_torchs_product(dtype: str, close: float, gelu: bool) -> None:
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(96, 64) / 8, torch.randn(96), torch.randn(16, 64)
    expected = torch.nn.functional.linear(rows, weight, bias)
    expected = torch.nn.functional.gelu(expected, approximate="tanh") if gelu else expected
    layer, small = linear(weight, bias, dtype, 2), activations(rows, dtype, 2)
    result = as_float(layer.activated(small) if gelu else layer(small))
    assert float((result - expected).abs().max()) < close * float(expected.abs().max())


def test_8_bit_activations_have_a_scale_of_their_own_for_each_row() -> None:
    torch.manual_seed(0)
    layer, row = linear(torch.randn(32, 64), None, "int8", 2), torch.randn(1, 64)
    loud = torch.cat([row, torch.full((7, 64), 1e4)])
    assert torch.equal(
        as_float(layer(activations(row.repeat(8, 1), "int8", 2)))[0], as_float(layer(activations(loud, "int8", 2)))[0]
    )


class Counting:
    """A layer that rounds as the number of rows has it."""

    def __init__(self, error: Callable[[int], float]) -> None:
        self.counts: list[int] = []
        self._error = error

    def __call__(self, rows: Activations) -> Products:
        self.counts.append(len(rows.values))
        return Products(rows.values * self._error(len(rows.values)))

    def activated(self, rows: Activations) -> Activations:
        return Activations(self(rows).values)


def test_where_row_counts_matter_every_product_has_the_same_number_of_rows() -> None:
    layer = Counting(float)
    assert row_multiple(layer, trial_rows(4, "fp32", 2)) is None
    layer.counts.clear()
    three = Activations(torch.ones(3 * BLOCK, 4))
    assert torch.equal(BlockedLinear(layer)(three).values, torch.full((3 * BLOCK, 4), float(BLOCK)))
    assert layer.counts == [BLOCK] * 3
    nothing = Activations(torch.ones(0, 4))  # a step that only reads the beginning of a prompt
    assert len(BlockedLinear(layer)(nothing).values) == len(BlockedLinear(layer).activated(nothing).values) == 0


def test_rows_are_padded_to_no_more_than_it_takes() -> None:
    rows = trial_rows(4, "fp32", 2)
    assert row_multiple(Counting(lambda count: count % 8 + 1), rows) == 8
    assert row_multiple(Counting(lambda count: 1), rows) == 2


def test_a_model_whose_layers_round_by_row_count_is_padded_to_blocks(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.cpu.batch_invariant.row_multiple_of", lambda *_: None)
    padded = GPT2(tiny.reference.config, tiny.reference.state_dict())
    tokens = tokens_of(tiny, PROMPTS[0])
    assert padded.multiple == BLOCK
    np.testing.assert_allclose(
        Writing(padded).compute((0, tokens, 0)), Writing(tiny.model).compute((0, tokens, 0)), atol=1e-4
    )


@pytest.mark.parametrize("change", [{"activation_function": "relu"}, {"add_cross_attention": True}], ids=str)
def test_a_model_that_differs_from_gpt2s_is_none_for_this_forward_pass(tiny: Tiny, change: dict[str, Any]) -> None:
    config = tiny.reference.config
    assert supports(config)
    assert not supports(type(config)(**(config.to_dict() | change)))


def test_one_slot_of_the_cache_takes_what_its_shape_says(tiny: Tiny) -> None:
    cache = tiny.model.new_cache(3)
    taken = cache.keys.numel() * cache.keys.element_size() * 2
    assert taken == 3 * tiny.model.cache_shape.slot_bytes
    assert isinstance(tiny.model, GPT2)
