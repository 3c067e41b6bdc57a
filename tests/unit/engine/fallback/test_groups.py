"""Models without slots whose texts are written in groups: transformers' own texts, and the same in any company."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from model_families import make_checkpoint, make_network
from tiny_models import SENTENCES, run_all, settings
from transformers import AutoModelForCausalLM

from contract.spec import IN_GROUPS, ONE_BY_ONE
from worker.engine.fallback import group_engine, trial
from worker.engine.fallback.experts import EXPERTS
from worker.engine.fallback.group import PaddedModel, Shape
from worker.engine.fallback.group_engine import GroupEngine
from worker.engine.fallback.one_by_one import FallbackEngine
from worker.engine.load.loading import load_engine
from worker.engine.sequence import Completion, Fault, Request

GPT_NAMES: dict[str, Any] = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 160, "rotary_dim": 8}
FAMILIES: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "gptj": GPT_NAMES,
    "falcon": {"hidden_size": 64},
    "mpt": {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 160},
    "codegen": GPT_NAMES,
    "gpt_neo": {"hidden_size": 64, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 9},
    "mixtral": {"hidden_size": 64, "intermediate_size": 64, "num_local_experts": 4, "num_key_value_heads": 2},
    "gpt_oss": {
        "hidden_size": 64,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 64,
    },
}


def checkpoint_of(folder: Path, family: str) -> Path:
    return make_checkpoint(folder, family, max_position_embeddings=160, **FAMILIES[family])


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("group"), request.param)


def load_groups(folder: Path, dtype: str = "fp32") -> GroupEngine:
    loaded = load_engine(str(folder), "cpu", dtype)
    assert isinstance(loaded.engine, GroupEngine), loaded.why_fallback
    assert loaded.provenance.engine == IN_GROUPS
    return loaded.engine


def mixed_requests(count: int = 24) -> list[Request]:
    chance = random.Random(0)
    return [
        Request(
            number,
            (SENTENCES[number % 4] * 3)[: chance.choice([1, 7, 40, 150])],
            settings(max_new_tokens=chance.randint(1, 9), do_sample=bool(number % 3), logprobs=number % 2),
            chance.getrandbits(53),
        )
        for number in range(count)
    ]


def alone(engine: GroupEngine, requests: list[Request]) -> dict[Any, Any]:
    return {key: report for request in requests for key, report in run_all(engine, [request]).items()}


def test_greedy_texts_are_those_of_transformers_for_each_alone(checkpoint: Path) -> None:
    engine = load_groups(checkpoint)
    model: Any = AutoModelForCausalLM
    network = model.from_pretrained(checkpoint, dtype=torch.float32).eval()
    greedy = settings(max_new_tokens=10, do_sample=False, logprobs=1)
    prompts = [SENTENCES[0], "The", SENTENCES[2], SENTENCES[1] * 2]
    reports = run_all(engine, [Request(number, prompt, greedy, 0) for number, prompt in enumerate(prompts)])
    different = set()
    for number, prompt in enumerate(prompts):
        report = reports[number]
        assert isinstance(report, Completion)
        tokens = torch.tensor([engine.read(prompt, greedy).tokens])
        written = network.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=10, pad_token_id=0
        )[0, tokens.shape[1] :].tolist()
        different |= {*written}
        assert [entry["token"] for entry in report.logprobs or ()] == list(map(engine._vocabulary.shown, written))
    assert len(different) > 3


@pytest.mark.parametrize("family", ["bloom", "mixtral"])
def test_a_text_is_the_same_alone_and_in_any_company_and_order(family: str, tmp_path: Path) -> None:
    compare_alone_and_in_company(load_groups(checkpoint_of(tmp_path, family), "bf16"), mixed_requests())


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_a_text_of_any_family_is_the_same_alone_and_in_any_company(checkpoint: Path, dtype: str) -> None:
    compare_alone_and_in_company(load_groups(checkpoint, dtype), mixed_requests(40))


def compare_alone_and_in_company(engine: GroupEngine, requests: list[Request]) -> None:
    together = run_all(engine, requests)
    assert alone(engine, requests[:9]) == {key: together[key] for key in range(9)}
    random.Random(1).shuffle(requests)
    assert run_all(engine, requests) == together


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> GroupEngine:
    return load_groups(checkpoint_of(tmp_path_factory.mktemp("bloom"), "bloom"))


@pytest.fixture(autouse=True)
def nothing_left(engine: GroupEngine) -> None:
    assert engine.pending == 0


def test_recurrent_models_write_one_text_at_a_time(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "mamba", hidden_size=32, state_size=4)
    loaded = load_engine(str(folder), "cpu", "fp32")
    assert isinstance(loaded.engine, FallbackEngine)
    assert loaded.provenance.engine == ONE_BY_ONE
    assert "not in groups, because its forward pass takes no past_key_values" in str(loaded.why_fallback)
    (text,) = run_all(loaded.engine, [Request(0, "The", settings(max_new_tokens=3), 0)]).values()
    assert isinstance(text, Completion)


LONG_ROPE = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "rope_theta": 10000.0}


def judged(network: Any, dtype: torch.dtype = torch.float32) -> str | None:
    trial.cast(network, torch.device("cpu"), dtype)
    with trial._as_groups_need_it(network):
        return trial._verdict(network, torch.device("cpu"), dtype)


def test_a_rotary_embedding_that_looks_at_the_longest_row_is_noticed() -> None:
    network = make_network(
        "phi3", hidden_size=64, num_key_value_heads=2, rope_parameters=LONG_ROPE,
        original_max_position_embeddings=96, max_position_embeddings=160,
    )  # fmt: skip
    assert "texts beside it" in str(judged(network))


class Mixing(torch.nn.Module):
    """Sees the text in the row before."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.tanh(rows) + 1e-6 * rows.roll(1, dims=0)


def test_a_text_that_depends_on_its_neighbour_is_noticed() -> None:
    network = make_network("llama", hidden_size=64)
    network.model.layers[1].mlp.act_fn = Mixing()
    assert "texts beside it" in str(judged(network))


def test_padding_that_is_not_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network("bloom", **FAMILIES["bloom"])
    forward = network.forward
    monkeypatch.setattr(
        network, "forward", lambda attention_mask=None, past_key_values=None, logits_to_keep=0, **named: forward(
            past_key_values=past_key_values, logits_to_keep=logits_to_keep, **named
        ),
    )  # fmt: skip
    assert "where a text is padded" in str(judged(network))


def test_who_is_refused_keeps_its_own_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network("llama", hidden_size=64)
    before = network.config._attn_implementation
    monkeypatch.setattr(trial, "_same_in_company", lambda _: False)
    reason = trial.why_one_by_one(network, torch.device("cpu"), torch.bfloat16, lambda: "refused")
    assert "depend on the texts beside it in bfloat16" in str(reason)
    assert network.config._attn_implementation == before != "eager"
    assert network.dtype == torch.bfloat16


def test_shapes_follow_from_the_text_alone() -> None:
    model = PaddedModel(make_network("bloom", **FAMILIES["bloom"]))
    assert model.shape(1, 9) == model.shape(32, 90) == Shape(16, 32)
    assert model.shape(33, 9) == Shape(16, 64)
    short = PaddedModel(make_network("gptj", **GPT_NAMES))
    assert short.shape(70, 40) == Shape(16, 70)  # 128 columns and 40 are more than 160 positions
    assert model.shape(10**6, 9).rows == 1


def test_long_texts_are_written_alone(engine: GroupEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.model, "_most_columns", 80)
    requests = [Request(n, "mill " * (30 if n % 2 else 3), settings(max_new_tokens=5), n) for n in range(6)]
    reports = run_all(engine, requests)
    assert all(isinstance(report, Completion) for report in reports.values())
    assert alone(engine, requests) == reports


def test_the_fault_of_one_row_is_its_own(engine: GroupEngine) -> None:
    good = [Request(n, "The river", settings(max_new_tokens=4), n) for n in range(3)]
    expected = run_all(engine, good)
    everything = tuple((token, -1e30) for token in range(engine.model.vocabulary))
    bad = [
        Request("bias", "x", settings(logit_bias=((99_999, 1.0),)), 0),
        Request("banned", "x", settings(logit_bias=everything, min_new_tokens=3, max_new_tokens=4), 0),
    ]
    reports = run_all(engine, [bad[0], *good, bad[1]])
    assert {key: reports[key] for key in expected} == expected
    assert isinstance(reports["bias"], Fault)
    assert reports["bias"].certain


def test_a_failing_step_is_charged_to_the_text_that_fails_alone(
    engine: GroupEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request(n, "The river", settings(max_new_tokens=4), n) for n in range(5)]
    expected, poison = run_all(engine, requests), engine.read("poison", settings()).tokens
    own = group_engine.Group

    class Poisoned(own):  # type: ignore[misc, valid-type]
        def __init__(self, model: Any, shape: Shape, prompts: dict[int, list[int]]) -> None:
            if poison in prompts.values():
                raise RuntimeError("a kernel failed")
            super().__init__(model, shape, prompts)

    monkeypatch.setattr(group_engine, "Group", Poisoned)
    reports = run_all(engine, [*requests[:2], Request("bad", "poison", settings(max_new_tokens=4), 0), *requests[2:]])
    assert reports.pop("bad") == Fault("bad", "RuntimeError: a kernel failed", certain=False)
    assert reports == expected


def test_memory_that_is_away_for_a_while_charges_nobody(engine: GroupEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Request(n, "The river", settings(max_new_tokens=4), n) for n in range(3)]
    expected, away = run_all(engine, requests), iter(range(7))
    own = group_engine.Group.forward

    def starved(group: Any, newest: Any) -> Any:
        if next(away, None) is not None:
            raise torch.OutOfMemoryError("out of memory")
        return own(group, newest)

    monkeypatch.setattr(group_engine.Group, "forward", starved)
    assert run_all(engine, requests) == expected


def test_a_text_that_is_cancelled_changes_no_other(engine: GroupEngine) -> None:
    requests = mixed_requests(12)
    expected = run_all(engine, requests)
    engine.add(requests)
    reports = {report.key: report for _ in range(2) for report in engine.step()}
    cancelled = [number for number in range(0, 12, 2) if number not in reports]
    engine.cancel(cancelled)
    reports |= run_all(engine)
    assert reports == {key: report for key, report in expected.items() if key not in cancelled}


@pytest.mark.parametrize("kind", ["one by one", "in groups"])
def test_rotary_frequencies_stay_float32_in_bfloat16(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded to bfloat16 they would be off by whole turns at far positions, in silence."""
    network = make_network("llama", hidden_size=64, max_position_embeddings=2048)
    frequencies = network.model.rotary_emb.inv_freq.clone()
    text = torch.randint(0, 300, (1, 6), generator=torch.Generator().manual_seed(0))
    places = torch.arange(2000, 2006)[None]
    with torch.inference_mode():
        expected = network(input_ids=text, position_ids=places).logits
    if kind == "one by one":
        monkeypatch.setattr(trial, "_verdict", lambda *_: "so says a test")
    trial.why_one_by_one(network, torch.device("cpu"), torch.bfloat16, lambda: f"frequencies {kind}")
    assert network.dtype == torch.bfloat16
    assert torch.equal(network.model.rotary_emb.inv_freq, frequencies)
    with torch.inference_mode():
        ours = network(input_ids=text, position_ids=places).logits.float()
    assert float((ours - expected).square().mean().sqrt() / expected.square().mean().sqrt()) < 0.05


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_experts_in_blocks_compute_what_transformers_own_do(family: str) -> None:
    network = make_network(family, **FAMILIES[family])
    tokens = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network.set_experts_implementation("eager")
        theirs = network(tokens).logits
        network.set_experts_implementation(EXPERTS)
        assert torch.allclose(network(tokens).logits, theirs, rtol=1e-4, atol=1e-4)
