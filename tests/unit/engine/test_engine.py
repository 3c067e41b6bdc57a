"""The slot engine's texts: what is asked for, what comes back, and when it ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from expected_texts import expected_text
from tiny_models import SENTENCES, Tiny, load_tiny, make_gpt2, run_all, settings

from contract.spec import SamplingSettings
from worker.engine.cpu.gpt2 import GPT2
from worker.engine.engine import PREFILL_TOKENS, SlotEngine
from worker.engine.fallback.one_by_one import FallbackEngine
from worker.engine.forward import Rows
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.tokenizer import ByteVocabulary

Write = Callable[..., Completion]

PROMPTS = [sentence[:length] for sentence in SENTENCES for length in (1, 4, 9, 15, 22, 31)]


def generated(tiny: Tiny, prompt: str, **options: Any) -> tuple[list[int], str]:
    """transformers' own continuation: token ids and text."""
    ids = torch.tensor([tiny.tokenizer(prompt)["input_ids"]])
    end = tiny.tokenizer.eos_token_id
    with torch.inference_mode():
        output = tiny.reference.generate(
            ids, attention_mask=torch.ones_like(ids), pad_token_id=end, do_sample=False, **options
        )
    new = output[0, ids.shape[1] :].tolist()
    return new, expected_text(tiny.vocabulary, [], new)


def test_greedy_texts_are_those_of_transformers(tiny: Tiny) -> None:
    greedy = settings(do_sample=False, max_new_tokens=24)
    reports = run_all(tiny.engine(5), [Request(prompt, prompt, greedy, 0) for prompt in PROMPTS])
    for prompt in PROMPTS:
        new, text = generated(tiny, prompt, max_new_tokens=24)
        assert (reports[prompt].text, reports[prompt].tokens) == (text, len(new)), prompt


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"repetition_penalty": 1.4}, {"repetition_penalty": 1.4}),
        ({"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 2}),
        ({"min_new_tokens": 12}, {"min_new_tokens": 12}),
    ],
)
def test_greedy_texts_with_penalties_and_bans_are_those_of_transformers(
    tiny: Tiny, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    greedy = settings(do_sample=False, max_new_tokens=20, **ours)
    reports = run_all(tiny.engine(8), [Request(prompt, prompt, greedy, 0) for prompt in PROMPTS])
    for prompt in PROMPTS:
        assert reports[prompt].text == generated(tiny, prompt, max_new_tokens=20, **theirs)[1], prompt


def test_a_seed_always_gives_the_same_text_and_another_seed_another(write: Write) -> None:
    texts = {write(seed=seed, max_new_tokens=20).text for seed in (1, 2, 3, 1, 2, 3)}
    assert len(texts) == 3


def test_texts_are_seen_as_they_grow(tiny: Tiny) -> None:
    engine, seen = tiny.engine(2), dict[str, list[str]](a=[], b=[])
    engine.add(Request(key, "Once upon", settings(max_new_tokens=12), seed) for seed, key in enumerate(seen))
    done: dict[Any, Any] = {}
    while engine.pending:
        done |= {report.key: report for report in engine.step()}
        for key, texts in seen.items():
            texts.append(engine.so_far(key))
    for key, texts in seen.items():
        assert len(set(texts)) > 2 and all(done[key].text.startswith(text) for text in texts)


def test_an_empty_prompt_means_the_end_of_text_token(write: Write) -> None:
    assert write("", max_new_tokens=10) == write("<|endoftext|>", max_new_tokens=10)
    assert write("").prompt_tokens == 1


def test_the_end_of_text_token_ends_a_text_and_is_counted(tiny: Tiny, write: Write) -> None:
    end = tiny.tokenizer.eos_token_id
    done = write(logit_bias=((end, 100.0),), max_new_tokens=9, logprobs=1)
    assert (done.text, done.finish_reason, done.tokens) == ("", "stop", 1)
    assert done.logprobs is not None
    assert done.logprobs[0]["token"] == "<|endoftext|>"


def test_min_new_tokens_holds_the_end_of_text_back(tiny: Tiny, write: Write) -> None:
    end = tiny.tokenizer.eos_token_id
    done = write(logit_bias=((end, 100.0),), min_new_tokens=4, max_new_tokens=9)
    assert (done.finish_reason, done.tokens) == ("stop", 5)
    assert done.text


def test_one_new_token_is_possible(write: Write) -> None:
    assert write(max_new_tokens=1).tokens == 1


def test_a_stop_string_cuts_the_text_even_if_it_straddles_tokens(write: Write) -> None:
    whole = write(max_new_tokens=30, do_sample=False, logprobs=1)
    assert whole.logprobs is not None
    for start in range(1, len(whole.text) - 4):
        stop = whole.text[start : start + 3]
        if "\ufffd" in whole.text[whole.text.index(stop) - 1 :][:4]:
            continue  # half a character before a stop string is left out; see test_sequence
        cut = write(max_new_tokens=30, do_sample=False, stop=("never written", stop))
        assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
        assert cut.tokens <= whole.tokens


def test_characters_split_over_tokens_come_out_whole(tiny: Tiny, write: Write) -> None:
    """Force, one after the other, the three byte tokens of a character that has no token of its own."""
    tokens = tiny.tokenizer("한")["input_ids"]
    assert [len(tiny.vocabulary.pieces.piece(token)) for token in tokens] == [1, 1, 1]
    bias = tuple(zip(tokens, (600.0, 400.0, 200.0), strict=True))
    done = write(logit_bias=bias, no_repeat_ngram_size=1, do_sample=False, max_new_tokens=3)
    assert done.text == "한"


def test_every_text_is_what_its_tokens_decode_to(tiny: Tiny) -> None:
    requests = [Request(seed, "The", settings(max_new_tokens=25, logprobs=1), seed) for seed in range(20)]
    engine = tiny.engine(6)
    engine.add(requests)
    written: dict[int, list[int]] = {}
    while engine.pending:
        rows = {running.sequence.request.key: running.sequence for running in engine._running.values()}
        written.update({key: sequence.tokens for key, sequence in rows.items()})
        for report in engine.step():
            assert report.text == expected_text(tiny.vocabulary, [], written[report.key])


def test_bad_words_are_never_written_in_any_spelling(tiny: Tiny, write: Write) -> None:
    spellings = ("the", " the", "t", "h", "e", "he", "th", " t")
    forced = tuple({token: 30.0 for each in spellings for token in tiny.tokenizer(each)["input_ids"]}.items())
    assert re.search(r"\bthe\b", write(logit_bias=forced, max_new_tokens=12).text)
    for seed in range(5):
        text = write(logit_bias=forced, max_new_tokens=12, bad_words=("the",), seed=seed).text
        assert not re.search(r"\bthe\b", text)
        inside = {"bad_words": ("the",), "bad_words_match": "substring"}
        assert "the" not in write(logit_bias=forced, max_new_tokens=12, seed=seed, **inside).text


@pytest.mark.parametrize("engine", ["slots", "fallback"])
def test_a_stop_string_that_is_a_special_token_stops(tmp_path: Path, engine: str) -> None:
    """One that is no end of text: it adds nothing to the text that a stop string could be found in."""
    plain = load_tiny(make_gpt2(tmp_path))
    plain.tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    end = plain.tokenizer.convert_tokens_to_ids("<|im_end|>")
    plain.reference.resize_token_embeddings(len(plain.tokenizer), mean_resizing=False)
    config = plain.reference.config
    vocabulary = ByteVocabulary(plain.tokenizer, config)
    weights = plain.reference.state_dict()
    engines = {
        "slots": lambda: SlotEngine(GPT2(config, weights, "fp32"), vocabulary, 2),
        "fallback": lambda: FallbackEngine(plain.reference, vocabulary),
    }

    def written(**own: Any) -> Completion:
        asked = settings(max_new_tokens=6, logit_bias=((end, 100.0),), **own)
        report = run_all(engines[engine](), [Request(0, "The mill", asked, 0)])[0]
        assert isinstance(report, Completion)
        return report

    stopped = written(stop=("<|im_end|>",))
    assert (stopped.text, stopped.finish_reason, stopped.tokens) == ("", "stop", 1)
    late = written(stop=("x y z", "<|im_end|>"), min_new_tokens=4)
    assert (late.text, late.finish_reason, late.tokens) == ("", "stop", 4)
    assert (written().finish_reason, written().tokens) == ("length", 6)
    assert written(bad_words=("<|im_end|>",)).text


def test_no_ngram_is_written_twice(tiny: Tiny) -> None:
    request = Request("k", "Once upon a time", settings(max_new_tokens=60, no_repeat_ngram_size=2, top_k=3), 3)
    engine = tiny.engine(1)
    engine.add([request])
    tokens: list[int] = []
    while engine.pending:
        if engine._running:
            tokens = engine._running[0].state.context.tolist()
        engine.step()
    pairs = list(pairwise(tokens))
    assert len(pairs) > 30
    assert len(pairs) == len(set(pairs))


def test_logprobs_hold_a_line_for_each_token_and_their_mean_is_mean_logprob(write: Write) -> None:
    done = write(max_new_tokens=15, logprobs=5, temperature=1.7, repetition_penalty=1.5)
    assert done.logprobs is not None
    assert len(done.logprobs) == done.tokens == 15
    assert all(len(line["top"]) == 5 for line in done.logprobs)
    assert all(line["logprob"] <= max(line["top"].values()) for line in done.logprobs)
    mean = sum(line["logprob"] for line in done.logprobs) / 15
    assert done.mean_logprob == pytest.approx(mean)
    assert write(max_new_tokens=15).logprobs is None


def test_mean_logprob_is_that_of_the_raw_model(tiny: Tiny) -> None:
    """Compare with transformers' own logits over the same tokens, before any bias or penalty."""
    own = settings(max_new_tokens=9, min_new_tokens=9, temperature=2.0, logit_bias=((40, 5.0),), logprobs=1)
    engine = tiny.engine(1)
    engine.add([Request(0, "Once", own, 1)])
    engine.step()
    running = engine._running[0]
    (report,) = run_all(engine).values()
    assert isinstance(report, Completion)
    with torch.inference_mode():
        logits = tiny.reference(torch.tensor([[*running.prompt, *running.sequence.tokens]])).logits[0]
    logprobs = torch.log_softmax(logits, dim=-1)[len(running.prompt) - 1 :]
    expected = [float(logprobs[i, token]) for i, token in enumerate(running.sequence.tokens)]
    assert report.mean_logprob == pytest.approx(sum(expected) / 9, abs=1e-4)
    assert report.logprobs is not None
    assert [line["logprob"] for line in report.logprobs] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("prompt", "values", "words"),
    [
        (
            "word " * 40,
            {"max_new_tokens": 100},
            ["together", "the model's 128 positions", "shorten"],
        ),
        ("x", {"logit_bias": ((7, 1.0), (100_000, 1.0))}, ["logit_bias", "100000"]),
        ("half \ud800", {}, ["surrogate"]),
        ("x", {"bad_words": ("\udfff",)}, ["surrogate"]),
        ("x", {"stop": ("\ud800",)}, ["surrogates"]),
    ],
)
def test_a_request_that_can_never_be_served_is_a_certain_fault(
    tiny: Tiny, prompt: str, values: dict[str, Any], words: list[str]
) -> None:
    reports = run_all(
        tiny.engine(2), [Request("bad", prompt, settings(**values), 0), Request("good", "x", settings(), 0)]
    )
    fault = reports["bad"]
    assert isinstance(fault, Fault)
    assert fault.certain
    assert all(word in fault.reason for word in words), fault.reason
    assert isinstance(reports["good"], Completion)


def test_the_fault_of_a_prompt_that_is_too_long_says_both_numbers(tiny: Tiny) -> None:
    (fault,) = run_all(tiny.engine(1), [Request(0, "x" * 60, settings(max_new_tokens=100), 0)]).values()
    tokens = len(tiny.vocabulary.encode("x" * 60))
    assert isinstance(fault, Fault)
    assert fault.reason == (
        f"the prompt has {tokens} tokens and max_new_tokens is 100: together {tokens + 100}, "
        "more than the 129 for which the model's 128 positions are enough; shorten the prompt or lower max_new_tokens"
    )


def test_a_text_may_go_on_behind_the_last_position_by_one_token_which_is_never_read(tiny: Tiny) -> None:
    """Alone and beside others, from a prompt of one token and from one that fills every position."""
    whole = "x" * 128
    assert (len(tiny.vocabulary.encode("x")), len(tiny.vocabulary.encode(whole))) == (1, 128)
    fitting = [
        Request("short", "x", settings(max_new_tokens=128, min_new_tokens=128), 0),
        Request("whole", whole, settings(max_new_tokens=1), 0),
        Request("shared", whole, settings(max_new_tokens=1), 1),
    ]
    reports = run_all(tiny.engine(3), fitting)
    assert {key: report.tokens for key, report in reports.items()} == {"short": 128, "whole": 1, "shared": 1}
    assert run_all(tiny.engine(1), fitting) == reports
    assert run_all(FallbackEngine(load_tiny(tiny.folder).reference, tiny.vocabulary), fitting).keys() == reports.keys()
    longer = [Request(0, "x", settings(max_new_tokens=129), 0), Request(1, whole, settings(max_new_tokens=2), 0)]
    assert all(isinstance(report, Fault) for report in run_all(tiny.engine(2), longer).values())


def test_a_seed_out_of_range_is_a_certain_fault(tiny: Tiny) -> None:
    reports = run_all(tiny.engine(1), [Request(seed, "x", settings(), seed) for seed in (-1, 2**64, 2**64 - 1)])
    assert [isinstance(report, Fault) for report in reports.values()] == [True, True, False]


def test_no_work_is_no_reports(tiny: Tiny) -> None:
    engine = tiny.engine(3)
    engine.add([])
    assert engine.step() == []
    assert (engine.pending, engine.active, engine.free) == (0, 0, 3)


def test_a_free_slot_is_refilled_before_the_next_decode(tiny: Tiny) -> None:
    lengths = [2, 9, 3, 5, 4, 7]
    engine = tiny.engine(2)
    engine.add(
        Request(i, "x", settings(max_new_tokens=length, min_new_tokens=length), i) for i, length in enumerate(lengths)
    )
    passes, forward = 0, tiny.model.forward

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(tiny.model, name)

        def forward(self, rows: Rows, cache: Any) -> Any:
            nonlocal passes
            passes += 1
            if engine.pending >= 2:
                assert len(rows.wanted) == 2
            return forward(rows, cache)

    engine.model = Counting()  # type: ignore[assignment]
    assert len(run_all(engine)) == 6
    assert passes <= sum(lengths) / 2 + max(lengths)


def test_a_cancelled_request_is_never_reported_and_its_slot_is_free(tiny: Tiny) -> None:
    engine = tiny.engine(2)
    engine.add(Request(i, "x", SamplingSettings(max_new_tokens=30, min_new_tokens=30), i) for i in range(4))
    assert engine.step() == []
    assert (engine.active, engine.free, engine.pending) == (2, 0, 4)
    engine.cancel([0, 3, "never added"])
    assert (engine.active, engine.free, engine.pending) == (1, 1, 2)
    assert set(run_all(engine)) == {1, 2}


def test_a_key_that_is_pending_cannot_be_added_again(tiny: Tiny) -> None:
    engine = tiny.engine(1)
    engine.add([Request("k", "x", settings(), 0)])
    with pytest.raises(ValueError, match="already holds"):
        engine.add([Request("k", "y", settings(), 0)])


class Watched:
    """The model, and what it was asked to compute."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.seen: list[Rows] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward(self, rows: Rows, cache: Any) -> Any:
        self.seen.append(rows)
        return self._model.forward(rows, cache)


def watched_engine(tiny: Tiny, slots: int) -> tuple[SlotEngine, list[Rows]]:
    engine, model = tiny.engine(slots), Watched(tiny.model)
    engine.model = model  # type: ignore[assignment]
    return engine, model.seen


def test_long_prompts_are_taken_in_over_several_steps_that_decode_too(tiny: Tiny) -> None:
    engine, seen = watched_engine(tiny, 64)
    own = settings(max_new_tokens=20, min_new_tokens=20)
    engine.add(Request(i, f"{i} x y z w " + "x y z w " * 12, own, i) for i in range(64))
    assert len(run_all(engine)) == 64
    assert max(len(rows.tokens) for rows in seen) <= PREFILL_TOKENS + 64
    assert any(len(rows.tokens) > len(set(rows.slots)) and len(rows.wanted) > 8 for rows in seen)


def test_samples_of_one_prompt_share_its_prefill(tiny: Tiny) -> None:
    engine, seen = watched_engine(tiny, 16)
    prompt, own = "The river turned the wheel, and the wheel turned the stone.", settings(max_new_tokens=9)
    engine.add(Request(i, prompt, own, i) for i in range(40))
    reports = run_all(engine)
    length, sampled = len(tiny.vocabulary.encode(prompt)), sum(report.tokens for report in reports.values())
    assert sum(len(rows.tokens) for rows in seen) == length + 39 + sampled - 40
    assert reports == run_all(tiny.engine(1), [Request(i, prompt, own, i) for i in range(40)])


def test_a_beginning_that_prompts_share_is_computed_once(tiny: Tiny) -> None:
    template, own = "Once upon a time there was a miller who had a ", settings(max_new_tokens=3, min_new_tokens=3)
    requests = [
        Request(i, f"{template}{ending}", own, i) for i, ending in enumerate(["mill", "river", "stone", "wheel"])
    ]
    engine, seen = watched_engine(tiny, 8)
    reports = run_all(engine, requests)
    lengths = [len(tiny.vocabulary.encode(request.prompt)) for request in requests]
    assert sum(len(rows.tokens) for rows in seen) < sum(lengths) / 2
    assert reports == run_all(tiny.engine(1), requests)


def test_a_source_that_is_cancelled_leaves_those_that_waited_for_it_to_compute_by_themselves(tiny: Tiny) -> None:
    engine, own = tiny.engine(4), settings(max_new_tokens=5)
    requests = [Request(i, "The river turned the wheel, and more", own, i) for i in range(4)]
    engine.add(requests)
    engine.step()
    engine.cancel([0])
    right = run_all(tiny.engine(1), requests)
    assert run_all(engine) == {key: right[key] for key in (1, 2, 3)}


def test_blocks_of_the_cache_return_when_their_sequences_end(tiny: Tiny) -> None:
    engine, own = tiny.engine(6), settings(max_new_tokens=12)
    engine.add(Request(i, "The river turned the wheel " * (1 + i % 3), own, i) for i in range(30))
    for _ in range(15):
        engine.step()
    engine.cancel(range(10, 20))
    run_all(engine)
    cache = engine._cache
    assert cache is not None
    assert sorted(cache._free) == list(range(6 * cache.tables.shape[1]))
    assert not any(cache._users)
