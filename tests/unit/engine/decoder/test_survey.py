"""What a network asks of attention is found out, and what is not understood is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_families import make_network

from worker.engine.decoder.survey import Unsupported, survey


def test_windows_groups_caps_and_scales_are_found_for_each_layer() -> None:
    found = survey(make_network("gemma2", query_pre_attn_scalar=64))
    assert [call.window for call in found.calls] == [9, None]
    assert {(call.heads, call.groups, call.head_dim, call.cap, call.scale) for call in found.calls} == {
        (4, 2, 16, 50.0, 0.125)
    }
    assert (found.positions, found.vocabulary) == (128, 300)


def test_a_network_is_left_with_the_attention_it_had() -> None:
    network = make_network("llama")
    before = network.config._attn_implementation
    survey(network)
    assert network.config._attn_implementation == before


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("mixtral", {"num_key_value_heads": 2, "num_local_experts": 2}, "experts"),
        ("mamba", {}, "experts, convolutions, recurrent"),
        ("bloom", {}, "transformers' registry"),
    ],
)
def test_other_kinds_of_layers_are_refused(family: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        survey(make_network(family, **changes))


@pytest.mark.parametrize("bidirectional", ["or", "chunks"])
def test_a_mask_that_is_no_window_is_refused(bidirectional: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers.masking_utils as masks
    from transformers.models.llama import modeling_llama

    def everything(batch: Any, head: Any, row: Any, place: Any) -> Any:
        return place >= 0

    def chunks(batch: Any, head: Any, row: Any, place: Any) -> Any:
        return place // 16 == row // 16

    def create(**arguments: Any) -> Any:
        extra = {"or_mask_function": everything} if bidirectional == "or" else {"and_mask_function": chunks}
        return masks.create_causal_mask(**arguments, **extra)  # type: ignore[arg-type]

    monkeypatch.setattr(modeling_llama, "create_causal_mask", create)
    with pytest.raises(Unsupported, match="other than the positions before them"):
        survey(make_network("llama"))


def test_what_a_layer_tells_attention_and_nobody_knows_is_refused() -> None:
    network = make_network("llama")

    def told(module: Any, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return arguments, named | {"tree_bias": torch.ones(1)}

    network.model.layers[1].self_attn.register_forward_pre_hook(told, with_kwargs=True)
    with pytest.raises(Unsupported, match="'tree_bias', which is not known"):
        survey(network)
