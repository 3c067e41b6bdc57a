"""A network that computes something else, or whose rows depend on their neighbours, does not earn the slots."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from model_families import make_checkpoint, make_network
from tiny_models import run_all, settings

from worker.engine.cpu.attention import Rules
from worker.engine.decoder import served_attention
from worker.engine.decoder.decoder import Decoder
from worker.engine.decoder.fused_attention import FusedAttention
from worker.engine.decoder.gated_mlp import GatedMLP
from worker.engine.decoder.row_wise import RowWiseLinear
from worker.engine.decoder.trial import Reference, verdict
from worker.engine.fallback.one_by_one import FallbackEngine
from worker.engine.load import slot_model
from worker.engine.load.loading import load_engine
from worker.engine.sequence import Completion, Request


def judged(network: Any, dtype: str = "fp32") -> str | None:
    reference = Reference(network)
    return verdict(Decoder(network, dtype), reference)


def test_attention_that_is_not_transformers_own_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def sharper(scale: Any, *others: Any) -> Rules:
        return Rules(scale * 2, *others)

    monkeypatch.setattr(served_attention, "Rules", sharper)
    assert "first layers are off by" in str(judged(make_network("llama")))


class Rounding(torch.nn.Module):
    """An activation of nobody's, whose last bits depend on the number of rows, as torch's may."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.tanh(rows) * (1 + 1e-6 * (rows.shape[-2] > 100))


class Mixing(torch.nn.Module):
    """One that sees the row before, which at a text's beginning is another text's."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.tanh(rows) + torch.nn.functional.pad(rows, (0, 0, 1, 0))[..., :-1, :]


@pytest.mark.parametrize(("activation", "reason"), [(Rounding, "texts beside it in fp32"), (Mixing, "layers are off")])
def test_a_row_that_depends_on_its_neighbours_is_noticed(activation: type[torch.nn.Module], reason: str) -> None:
    network = make_network("llama")
    for layer in network.model.layers:
        layer.mlp.act_fn = activation()
    assert reason in str(judged(network))


def test_what_is_known_is_replaced_and_the_rest_stays() -> None:
    network = make_network("llama")
    network.model.layers[1].mlp.act_fn = Rounding()
    network.model.layers[1].self_attn.q_proj = torch.nn.Sequential(network.model.layers[1].self_attn.q_proj)
    first, second = Decoder(network, "fp32")._network.model.layers
    assert (type(first.mlp), type(first.self_attn)) == (GatedMLP, FusedAttention)
    assert (type(second.mlp.act_fn), type(second.self_attn.q_proj[0])) == (Rounding, RowWiseLinear)


@pytest.mark.parametrize("family", ["olmo", "ministral3"])
def test_a_layer_that_clips_or_looks_at_far_positions_is_not_fused(family: str) -> None:
    for layer in Decoder(make_network(family), "fp32")._network.model.layers:
        assert isinstance(layer.mlp, GatedMLP) and not isinstance(layer.self_attn, FusedAttention)


def test_layers_that_compute_something_else_are_not_fused() -> None:
    """Each has the parts of the usual one, and would pass for it by their shapes."""

    class Doubled(torch.nn.Module):
        def __init__(self, mlp: Any) -> None:
            super().__init__()
            self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.down_proj(2 * torch.nn.functional.silu(self.gate_proj(rows)) * self.up_proj(rows))

    network = make_network("llama")
    first, second = network.model.layers
    first.mlp = Doubled(first.mlp)
    theirs = second.self_attn.forward
    second.self_attn.forward = lambda hidden_states, **named: tuple(
        part if part is None else 2 * part for part in theirs(hidden_states=hidden_states, **named)
    )
    first, second = Decoder(network, "fp32")._network.model.layers
    assert isinstance(first.mlp, Doubled) and isinstance(first.self_attn, FusedAttention)
    assert isinstance(second.mlp, GatedMLP) and not isinstance(second.self_attn, FusedAttention)


LONG_ROPE = {"rope_type": "longrope", "short_factor": [1.0] * 6, "long_factor": [4.0] * 6, "rope_theta": 10000.0}


def test_a_rotary_embedding_that_looks_at_the_longest_row_is_for_the_fallback(tmp_path: Path) -> None:
    """A neighbour beyond the limit would change a text; alone in the fallback it does not."""
    folder = make_checkpoint(
        tmp_path, "phi3", rope_parameters=LONG_ROPE, original_max_position_embeddings=32, max_position_embeddings=128
    )
    loaded = load_engine(str(folder), "cpu", "fp32")
    assert isinstance(loaded.engine, FallbackEngine)
    assert "longest text beside a row" in str(loaded.why_fallback)
    short, long = (Request(key, "a" * key, settings(max_new_tokens=8, do_sample=False), 0) for key in (5, 60))
    alone = run_all(loaded.engine, [short])
    assert run_all(loaded.engine, [long, short])[5] == alone[5]


def test_a_verdict_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path, "llama", seed=random.getrandbits(30))  # what was tried before is known
    trials: list[str] = []
    monkeypatch.setattr(slot_model, "verdict", lambda *_: trials.append("tried") or "somebody said so")
    for _ in range(2):
        loaded = load_engine(str(folder), "cpu", "fp32")
        assert loaded.why_fallback == "somebody said so"
        (text,) = run_all(loaded.engine, [Request(0, "The", settings(max_new_tokens=2), 0)]).values()
        assert isinstance(text, Completion)
    assert trials == ["tried"]


def test_what_failed_for_a_moment_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path, "llama", seed=random.getrandbits(30))
    with monkeypatch.context() as patch:
        patch.setattr(slot_model, "Reference", lambda _: (_ for _ in ()).throw(OSError("no space left on device")))
        loaded = load_engine(str(folder), "cpu", "fp32")
        assert "no space left" in str(loaded.why_fallback)
    assert load_engine(str(folder), "cpu", "fp32").why_fallback is None


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_prompts_that_take_more_than_a_step_to_read_are_written_on(tmp_path: Path, dtype: str) -> None:
    """A step that reads a prompt alone wants no logits."""
    folder = make_checkpoint(tmp_path, "llama", seed=13, max_position_embeddings=2048)
    engine: Any = load_engine(str(folder), "cpu", dtype, slots=2).engine
    requests = [Request(n, "the river " * (300 + n), settings(max_new_tokens=4), n) for n in range(3)]
    together = run_all(engine, requests)
    assert all(isinstance(report, Completion) for report in together.values())
    assert run_all(type(engine)(engine.model, engine._vocabulary, 1), requests) == together


def test_a_window_of_a_million_positions_costs_nothing_where_texts_are_short(tmp_path: Path) -> None:
    folder = make_checkpoint(
        tmp_path, "llama", num_key_value_heads=4, num_hidden_layers=8, max_position_embeddings=2**20
    )
    loaded = load_engine(str(folder), "cpu", "fp32")
    assert loaded.why_fallback is None
    (text,) = run_all(loaded.engine, [Request(0, "The", settings(max_new_tokens=2), 0)]).values()
    assert isinstance(text, Completion)


class LooksAtTheFarthest(torch.nn.Module):
    """A rotary embedding that takes other frequencies for all rows as soon as one is far into the window."""

    def __init__(self, embedding: torch.nn.Module) -> None:
        super().__init__()
        self._embedding = [embedding]  # in a list it is no part of the network, and not seen to be a rotary embedding

    def forward(self, hidden: torch.Tensor, position_ids: torch.Tensor) -> Any:
        (embedding,) = self._embedding
        return embedding(hidden, position_ids * (1 + (position_ids.max() > 600)))


def test_a_text_that_depends_on_how_long_its_neighbour_is_is_noticed() -> None:
    network = make_network("llama", max_position_embeddings=1024)
    network.model.rotary_emb = LooksAtTheFarthest(network.model.rotary_emb)
    assert "texts beside it" in str(judged(network))
