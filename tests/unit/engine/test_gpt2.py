"""The forward pass against transformers' on the same weights, and its rows against their neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import Tiny, load_tiny, make_gpt2

from worker.engine.gpt2 import GPT2, attend, unsupported
from worker.engine.rows import BLOCK, RowLayers

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


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: ",".join(shape) or "plain")
def test_logits_equal_those_of_transformers(shape: dict[str, Any], tmp_path: Path) -> None:
    tiny = load_tiny(make_gpt2(tmp_path, **shape))
    cache = tiny.model.new_cache(4)
    for slot, prompt in enumerate(PROMPTS):
        tokens = tokens_of(tiny, prompt)
        expected = tiny.reference(torch.tensor([tokens])).logits[0].detach()  # [length, vocabulary]
        spread = float(expected.std())
        logits = tiny.model.prefill(tokens[:1], slot, cache)
        torch.testing.assert_close(logits[0], expected[0], atol=1e-4 * max(1, spread), rtol=0)
        for position in range(1, len(tokens)):
            logits = tiny.model.decode([tokens[position]], [position], [slot], cache)
        torch.testing.assert_close(logits[0], expected[-1], atol=1e-4 * max(1, spread), rtol=0)
        whole = tiny.model.prefill(tokens, 3, cache)
        torch.testing.assert_close(whole[0], expected[-1], atol=1e-4 * max(1, spread), rtol=0)


def test_bfloat16_logits_lie_near_those_of_float32(checkpoint: Path) -> None:
    full, half = load_tiny(checkpoint), load_tiny(checkpoint, torch.bfloat16)
    tokens = tokens_of(full, PROMPTS[0])
    expected = full.model.prefill(tokens, 0, full.model.new_cache(1))[0]
    logits = half.model.prefill(tokens, 0, half.model.new_cache(1))[0]
    assert logits.dtype == torch.float32
    assert float((logits - expected).abs().max()) < 0.1 * float(expected.std())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [{}, ODD], ids=["plain", "odd"])
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(
    dtype: torch.dtype, shape: dict[str, Any], tmp_path: Path
) -> None:
    tiny = load_tiny(make_gpt2(tmp_path, **shape), dtype)
    lengths = [1 + 3 * slot for slot in range(25)]
    tokens = {slot: [(7 * slot + i) % 300 for i in range(length)] for slot, length in enumerate(lengths)}
    rows: dict[int, set[bytes]] = {slot: set() for slot in tokens}
    for group in (
        [*tokens],
        [24, 0, 13],
        [*range(9)],
        *([slot] for slot in tokens),
        [*reversed(range(11, 25))],
    ):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cache = tiny.model.new_cache(25)
            places = [(slot + len(group)) % 25 for slot in group]
            for slot, place in zip(group, places, strict=True):
                tiny.model.prefill(tokens[slot], place, cache)
            logits = tiny.model.decode([5] * len(group), [lengths[slot] for slot in group], places, cache)
            for slot, row in zip(group, logits, strict=True):
                rows[slot].add(row.numpy().tobytes())
    torch.set_num_threads(2)
    assert {len(variants) for variants in rows.values()} == {1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(36, 108), (64, 192), (768, 2304), (768, 768), (3072, 768)])
def test_linear_layers_are_bit_identical_for_every_padded_number_of_rows(
    inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs).to(dtype), torch.randn(outputs).to(dtype)
    layers, rows = RowLayers([weight]), torch.randn(256, inputs).to(dtype)
    variants = set()
    for count in range(layers.multiple, 257, layers.multiple * (1 if inputs < 768 else 5)):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            variants.add(layers.linear(rows[-count:].clone(), weight, bias)[-1].float().numpy().tobytes())
    assert len(variants) == 1


def test_where_row_counts_matter_every_product_has_the_same_number_of_rows() -> None:
    weight, layers = torch.randn(12, 20), RowLayers([])
    layers.whole, layers.multiple = False, BLOCK
    rows = torch.randn(layers.padded(BLOCK + 1), 20)
    assert rows.shape[0] == 2 * BLOCK
    torch.testing.assert_close(layers.linear(rows, weight), rows @ weight.t())


@pytest.mark.parametrize("inner", [50, 64, 3072])
def test_the_activation_of_a_row_does_not_depend_on_its_place(inner: int) -> None:
    row = torch.randn(1, inner)
    alone = RowLayers([]).gelu_new(row)
    many = RowLayers([]).gelu_new(row.repeat(37, 1))
    assert torch.equal(many, alone.repeat(37, 1))


def test_attention_equals_torchs() -> None:
    query, keys, values = (torch.randn(3, 9, 8) for _ in range(3))
    expected = torch.nn.functional.scaled_dot_product_attention(query, keys, values, is_causal=True)
    torch.testing.assert_close(attend(query, keys, values, 8**-0.5, causal=True), expected)


def test_a_model_that_the_forward_pass_cannot_run_is_named_with_the_reason(tiny: Tiny) -> None:
    config = tiny.reference.config
    assert unsupported(config) is None
    changed = type(config)(**(config.to_dict() | {"activation_function": "relu"}))
    assert "relu" in str(unsupported(changed))
    crossed = type(config)(**(config.to_dict() | {"add_cross_attention": True}))
    assert "cross-attention" in str(unsupported(crossed))


def test_one_slot_of_the_cache_takes_what_its_shape_says(tiny: Tiny) -> None:
    cache = tiny.model.new_cache(3)
    taken = cache.keys.numel() * cache.keys.element_size() * 2
    assert taken == 3 * tiny.model.cache_shape.slot_bytes
    assert isinstance(tiny.model, GPT2)
