"""The engine for models that run in no other way, on tiny checkpoints: the same rules, seeds and stop strings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from expected_texts import expected_text
from small_tokenizers import JOINING, made_vocabulary
from tiny_models import SENTENCES, Tiny, load_tiny, make_tokenizer, run_all, settings
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from contract.errors import ModelUnavailable
from worker.engine.cpu.gpt2 import GPT2
from worker.engine.decoder.survey import Unsupported
from worker.engine.engine import SlotEngine
from worker.engine.fallback import trial
from worker.engine.fallback.one_by_one import FallbackEngine
from worker.engine.load import loading
from worker.engine.load.loading import load_engine
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.tokenizer import Vocabulary


def make_llama(folder: Path) -> Path:
    """A Llama with a SentencePiece-like tokenizer that falls back to bytes."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(
        SENTENCES[:2] * 3,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special[:3], show_progress=False),
    )
    backend.add_tokens(special[3:])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=96, initializer_range=0.3,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_prompt_begins_as_the_tokenizer_begins_texts(tmp_path: Path) -> None:
    folder = make_llama(tmp_path)
    plain = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(vocab_size=len(plain), bos_token_id=1, eos_token_id=2)
    assert Vocabulary(plain, config).encode("Once")[0] != plain.bos_token_id
    plain.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", plain.bos_token_id)]
    )
    with_start = PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    vocabulary = Vocabulary(with_start, config)
    assert vocabulary.encode("Once") == with_start("Once")["input_ids"]
    assert vocabulary.encode("Once")[0] == with_start.bos_token_id
    assert vocabulary.encode("") == [with_start.bos_token_id]
    text = vocabulary.begin_text([])
    text.append(with_start.bos_token_id)
    assert text.finished() == ""


def make_neox(folder: Path) -> Path:
    tokenizer = make_tokenizer(folder)
    torch.manual_seed(2)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=96, initializer_range=0.3,
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[make_llama, make_neox], ids=["llama", "neox"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = request.param(tmp_path_factory.mktemp("other"))
    return made


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models whose texts are easily compared with transformers' own run in slots or in groups, too."""

    def refuse(*_: object) -> None:
        raise Unsupported("these tests want the fallback")

    monkeypatch.setattr(loading, "slot_model", refuse)
    monkeypatch.setattr(trial, "_verdict", lambda *_: "they want it one by one")
    monkeypatch.setattr(trial, "kept_result", lambda _name, _kind, measure, _possible: measure())


@pytest.fixture
def engine(folder: Path) -> FallbackEngine:
    loaded = load_engine(str(folder), device="cpu", dtype="fp32", threads=2)
    assert isinstance(loaded.engine, FallbackEngine)
    assert loaded.provenance.engine == FallbackEngine.name
    return loaded.engine


MIXTURE: list[dict[str, Any]] = [
    {},
    {"do_sample": False},
    {"top_k": 0, "top_p": 0.9, "stop": ("e",)},
    {"repetition_penalty": 1.4, "presence_penalty": 1.0, "min_new_tokens": 5},
    {"no_repeat_ngram_size": 2, "bad_words": ("the",), "logprobs": 2},
]


def requests() -> list[Request]:
    prompts = ["Once upon", "", "The river", "mill 3 €", "x"]
    return [
        Request(i, prompts[i % 5], settings(max_new_tokens=5 + i % 9, **MIXTURE[(i // 5 + i) % 5]), 100 + i)
        for i in range(15)
    ]


def test_a_text_is_the_same_on_repeat_and_in_any_order(engine: FallbackEngine) -> None:
    first = run_all(engine, requests())
    assert all(isinstance(report, Completion) for report in first.values()), first
    assert run_all(engine, reversed(requests())) == first


def test_greedy_texts_are_those_of_transformers(engine: FallbackEngine, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt in ("Once upon a time", "The mill", "wheel"):
        done = run_all(engine, [Request(0, prompt, settings(do_sample=False, max_new_tokens=15), 0)])[0]
        ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=15, pad_token_id=0
        )[0].tolist()
        new = output[ids.shape[1] :]
        assert isinstance(done, Completion)
        assert done.text == expected_text(engine._vocabulary, ids[0].tolist(), new)
        assert done.tokens == len(new)


def test_the_models_own_generation_config_is_ignored(folder: Path) -> None:
    plain = load_engine(str(folder), device="cpu", dtype="fp32", threads=2).engine
    ruled = load_engine(str(folder), device="cpu", dtype="fp32", threads=2).engine
    assert isinstance(ruled, FallbackEngine)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.update(suppress_tokens=list(range(200)), max_length=3)
    again = FallbackEngine(model.eval(), ruled._vocabulary)
    assert run_all(plain, requests()) == run_all(again, requests())


def test_a_text_is_seen_as_it_grows(engine: FallbackEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(engine, "alive", lambda: seen.append(engine.so_far("a")))
    done = run_all(engine, [Request("a", "Once upon", settings(max_new_tokens=12), 5)])["a"]
    assert isinstance(done, Completion)
    assert engine.so_far("b") == seen[0] == "" != seen[-1]
    assert all(done.text.startswith(text) for text in seen) and len(seen) == 12


def test_stop_strings_cut_the_text(engine: FallbackEngine) -> None:
    whole = run_all(engine, [Request(0, "Once upon", settings(max_new_tokens=20, do_sample=False), 0)])[0]
    assert isinstance(whole, Completion)
    at = next(i for i in range(2, len(whole.text) - 2) if "\ufffd" not in whole.text[i - 1 : i + 2])
    stop = whole.text[at : at + 2]
    own = settings(max_new_tokens=20, do_sample=False, stop=(stop,))
    cut = run_all(engine, [Request(0, "Once upon", own, 0)])[0]
    assert isinstance(cut, Completion)
    assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")


def test_a_bad_word_is_never_written_and_may_be_part_of_a_longer_one(engine: FallbackEngine) -> None:
    free, whole, inside = (
        run_all(engine, [Request(seed, "The", settings(max_new_tokens=30, **own), seed) for seed in range(6)])
        for own in (
            {},
            {"bad_words": ("t", "€", "the")},
            {"bad_words": ("t", "€", "the"), "bad_words_match": "substring"},
        )
    )
    texts = [[report.text for report in reports.values()] for reports in (free, whole, inside)]  # type: ignore[union-attr]
    assert any(re.search(r"\bt\b", text) for text in texts[0])
    assert not any(re.search(r"\bt\b|€|\bthe\b", text) for text in texts[1])
    assert any("t" in text for text in texts[1])
    assert not any(re.search("t|€", text) for text in texts[2])


def test_the_end_of_text_token_ends_a_text(engine: FallbackEngine) -> None:
    (end,) = engine._vocabulary.eos
    own = settings(max_new_tokens=9, min_new_tokens=2, logit_bias=((end, 100.0),))
    done = run_all(engine, [Request(0, "x", own, 0)])[0]
    assert isinstance(done, Completion)
    assert (done.finish_reason, done.tokens) == ("stop", 3)


def test_the_interface_is_that_of_the_slot_engine(engine: FallbackEngine) -> None:
    public = {name for name in dir(SlotEngine) if not name.startswith("_")}
    assert public <= {name for name in dir(FallbackEngine) if not name.startswith("_")}
    engine.add(requests()[:3])
    assert (engine.pending, engine.active, engine.free, engine.slots) == (3, 0, 1, 1)
    engine.cancel([1, "unknown"])
    assert [report.key for report in engine.step()] == [0]
    with pytest.raises(ValueError, match="already holds"):
        engine.add([requests()[2]])
    assert set(run_all(engine)) == {2}
    assert engine.step() == []


def test_a_request_that_cannot_be_served_is_a_certain_fault(engine: FallbackEngine) -> None:
    asked = [
        Request("long", "x " * 50, settings(max_new_tokens=90), 0),
        Request("bias", "x", settings(logit_bias=((99_999, 1.0),)), 0),
        Request("good", "x", settings(max_new_tokens=4), 0),
    ]
    reports = run_all(engine, asked)
    for key, word in (("long", "96 positions"), ("bias", "99999")):
        fault = reports[key]
        assert isinstance(fault, Fault)
        assert fault.certain
        assert word in fault.reason
    assert isinstance(reports["good"], Completion)


def test_memory_that_is_away_for_a_while_charges_nobody(
    engine: FallbackEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, away = engine.model.forward, iter(range(6))

    def starved(*args: Any, **options: Any) -> Any:
        if next(away, None) is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **options)

    monkeypatch.setattr(engine.model, "forward", starved)
    engine.add(requests()[:3])
    assert engine.step() == []
    assert engine.pause > 0
    reports = run_all(engine)
    assert len(reports) == 3
    assert all(isinstance(report, Completion) for report in reports.values())
    assert engine.pause == 0


def test_an_error_in_the_model_belongs_to_the_one_request(engine: FallbackEngine) -> None:
    forward = engine.model.forward

    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("a kernel failed")

    engine.model.forward = broken
    reports = run_all(engine, requests()[:1])
    assert reports == {0: Fault(0, "RuntimeError: a kernel failed", certain=False)}
    engine.model.forward = forward
    assert isinstance(run_all(engine, requests()[:1])[0], Completion)


def test_both_engines_write_the_same_text_with_one_models_weights(tiny: Tiny) -> None:
    """Sampling, seeds and stop strings are the same code; only the forward pass differs."""
    other = FallbackEngine(load_tiny(tiny.folder).reference, tiny.vocabulary)
    asked = [request for request in requests() if request.prompt]
    ours, theirs = run_all(tiny.engine(4), asked), run_all(other, asked)
    assert {key: report.text for key, report in ours.items()} == {key: report.text for key, report in theirs.items()}


@pytest.mark.parametrize("kind", [*JOINING, "word-ends"])
def test_both_engines_write_the_same_text_whatever_the_tokenizer(kind: str, tmp_path: Path) -> None:
    vocabulary = made_vocabulary(kind, tmp_path)
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=len(vocabulary.tokenizer) + 3, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.4
    )
    reference = GPT2LMHeadModel(config).eval()
    slots = SlotEngine(GPT2(config, reference.state_dict(), "fp32"), vocabulary, 4)
    unknown, its_token = vocabulary.tokenizer.unk_token, vocabulary.tokenizer.unk_token_id
    plain: dict[str, Any] = {"max_new_tokens": 15, "top_k": 0, "stop": ("e",)}
    special = {"max_new_tokens": 5, "logit_bias": ((its_token, 100.0),)}
    own = [plain, plain | {"min_new_tokens": 8}, special, special | {"stop": (unknown,)}]
    if kind != "word-ends":
        own.append(plain | {"bad_words": ("the", "a", "é"), "stop": ()})
    asked = [Request(i, ["the mill", "a"][i % 2], settings(**own[i % len(own)]), i) for i in range(10)]
    reports = run_all(slots, asked)
    assert all(isinstance(report, Completion) for report in reports.values()), reports
    others = run_all(FallbackEngine(reference, vocabulary), asked)
    assert {key: report.text for key, report in others.items()} == {key: report.text for key, report in reports.items()}
    assert (reports[2].text, reports[2].tokens) == ("", 5)  # special tokens are never written
    assert (reports[3].text, reports[3].tokens, reports[3].finish_reason) == ("", 1, "stop")
    texts = [reports[request.key].text for request in asked if request.settings.bad_words]
    assert not any(re.search(r"\b(the|a|é)\b", text) for text in texts), texts


def test_why_a_model_is_here_is_said(folder: Path) -> None:
    assert load_engine(str(folder), device="cpu", dtype="fp32", threads=2).why_fallback == (
        "these tests want the fallback, and not in groups, because they want it one by one"
    )


def test_int8_is_refused_with_the_reason(folder: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"not \(these tests want the fallback\); use fp32 or bf16"):
        load_engine(str(folder), device="cpu", dtype="int8")
