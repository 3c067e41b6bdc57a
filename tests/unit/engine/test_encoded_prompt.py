"""Prompts read ahead: once each, outside any step, and no further than their length lets them be of use."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_models import Tiny, run_all, settings

from contract.failures import FailureCode
from worker.engine.encoded_prompt import Rejected
from worker.engine.sequence import Completion, Fault, Request

OWN: dict[str, Any] = {"bad_words": ("the", "mill"), "stop": ("er",), "logit_bias": ((7, 2.0),), "max_new_tokens": 12}


def no_tokenizing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a text was tokenised")

    monkeypatch.setattr(tiny.vocabulary, "tokens", fail)


def test_no_step_tokenises_what_was_read_before_and_the_texts_are_the_same(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request(index, "Once upon a time", settings(**OWN), index) for index in range(9)]
    expected = run_all(tiny.engine(4), requests)
    engine = tiny.engine(4)
    encoded = engine.read("Once upon a time", settings(**OWN))
    no_tokenizing(tiny, monkeypatch)
    ahead = [Request(r.key, r.prompt, r.settings, r.seed, encoded) for r in requests]
    assert run_all(engine, ahead) == expected


def test_rules_are_shared_by_prompts_whose_settings_say_the_same(tiny: Tiny) -> None:
    engine = tiny.engine()
    first = engine.read("Once", settings(**OWN))
    assert engine.read("The", settings(**OWN | {"seed": 4, "n": 3}), earlier=first).rules is first.rules
    assert engine.read("The", settings(**OWN | {"bad_words": ("the",)}), earlier=first).rules is not first.rules


def test_a_prompt_whose_length_alone_is_too_much_is_refused_unread(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny.engine()
    no_tokenizing(tiny, monkeypatch)
    with pytest.raises(Rejected) as caught:
        engine.read("x" * 900_000, settings(max_new_tokens=100))
    longest = len("<|endoftext|>")
    fewest = -(-900_000 // longest)
    assert str(caught.value) == (
        f"the prompt has at least {fewest} tokens and max_new_tokens is 100: together at least {fewest + 100}, "
        "more than the 129 for which the model's 128 positions are enough; shorten the prompt or lower max_new_tokens"
    )


@pytest.mark.parametrize(
    "text", ["", "x", "<|endoftext|>" * 40, "miller " * 30, "東京🙂" * 20, " \n\t" * 50, "\x00\x7f"]
)
def test_no_text_has_fewer_tokens_than_its_length_proves(tiny: Tiny, text: str) -> None:
    assert tiny.vocabulary.fewest_tokens(text) <= len(tiny.vocabulary.encode(text))


def test_of_a_tokenizer_that_drops_text_no_length_proves_anything(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import normalizers

    from worker.engine.tokenizer import ByteVocabulary

    monkeypatch.setattr(tiny.tokenizer.backend_tokenizer, "normalizer", normalizers.Strip())
    assert ByteVocabulary(tiny.tokenizer, tiny.reference.config).fewest_tokens(" " * 900_000) == 0


def test_bad_words_are_banned_without_being_tokenised(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, read = tiny.engine(), []
    tokens = tiny.vocabulary.tokens
    monkeypatch.setattr(tiny.vocabulary, "tokens", lambda text: read.append(text) or tokens(text))
    engine.read("Once", settings(bad_words=("the", "x" * 900_000, "\x00" * 129)))
    assert read == ["Once"]


def test_the_caller_is_told_after_each_text(tiny: Tiny) -> None:
    texts: list[None] = []
    words = tuple(f"word {number}" for number in range(20))
    tiny.engine().read("Once", settings(bad_words=words), alive=lambda: texts.append(None))
    assert len(texts) == 21


LONG = "".join(f"The miller had {number} wheels. " for number in range(40))


def most(tiny: Tiny) -> int:
    """How many tokens a text may have behind no prompt."""
    room = tiny.engine()._limits.room(0)
    assert room is not None
    return room


def test_a_prompt_that_fits_exactly_is_left_as_it_is(tiny: Tiny) -> None:
    tokens = len(tiny.vocabulary.encode("Once upon a time"))
    for way in ("refuse", "truncate-left", "truncate-right", "shorten"):
        asked = settings(max_new_tokens=most(tiny) - tokens, on_too_long=way)
        encoded = tiny.engine().read("Once upon a time", asked)
        assert (encoded.fitted, encoded.settings, len(encoded.tokens)) == (None, asked, tokens)


@pytest.mark.parametrize(("way", "kept"), [("truncate-left", slice(-20, None)), ("truncate-right", slice(None, 20))])
def test_a_prompt_that_is_too_long_is_cut_where_it_is_said(tiny: Tiny, way: str, kept: slice) -> None:
    tokens = tiny.vocabulary.encode(LONG)
    asked = settings(max_new_tokens=most(tiny) - 20, min_new_tokens=most(tiny) - 20, on_too_long=way)
    encoded = tiny.engine().read(LONG, asked)
    assert encoded.tokens == tokens[kept] and encoded.settings == asked
    used = {"prompt_tokens": 20, "cut_tokens": len(tokens) - 20, "max_new_tokens": most(tiny) - 20}
    assert encoded.fitted == used
    report = run_all(tiny.engine(1), [Request(0, LONG, asked, 5)])[0]
    assert isinstance(report, Completion)
    assert (report.prompt_tokens, report.tokens) == (20, most(tiny) - 20)


def test_what_stands_before_every_prompt_is_never_cut(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tiny.vocabulary.encode(LONG)
    monkeypatch.setattr(tiny.vocabulary, "prefix", [7])
    for way, rest in (("truncate-left", tokens[-19:]), ("truncate-right", tokens[:19])):
        encoded = tiny.engine().read(LONG, settings(max_new_tokens=most(tiny) - 20, on_too_long=way))
        assert encoded.tokens == [7, *rest]


def test_a_text_is_shortened_to_what_the_prompt_leaves(tiny: Tiny) -> None:
    prompt = "x" * 40
    tokens = len(tiny.vocabulary.encode(prompt))
    asked = settings(max_new_tokens=100, min_new_tokens=95, on_too_long="shorten")
    left = most(tiny) - tokens
    assert left < 95
    report = run_all(tiny.engine(1), [Request(0, prompt, asked, 5)])[0]
    assert isinstance(report, Completion)
    assert (report.prompt_tokens, report.tokens, report.finish_reason) == (tokens, left, "length")
    plain = settings(max_new_tokens=left, min_new_tokens=left)
    assert run_all(tiny.engine(1), [Request(0, prompt, plain, 5)])[0] == report
    assert tiny.engine().read(prompt, asked).fitted == {
        "prompt_tokens": tokens, "cut_tokens": 0, "max_new_tokens": left,
    }  # fmt: skip


@pytest.mark.parametrize("way", ["refuse", "truncate-left", "truncate-right", "shorten"])
def test_what_cannot_be_made_to_fit_is_refused(tiny: Tiny, way: str) -> None:
    prompt, new = (LONG, 8) if way in ("refuse", "shorten") else ("Once", 1024)
    (fault,) = run_all(tiny.engine(1), [Request(0, prompt, settings(max_new_tokens=new, on_too_long=way), 0)]).values()
    assert isinstance(fault, Fault)
    assert (fault.certain, fault.code) == (True, FailureCode.TOO_LONG)


@pytest.mark.parametrize(
    ("prompt", "values", "code"),
    [
        ("half \ud800", {}, FailureCode.BAD_PROMPT),
        ("x", {"stop": ("\ud800",)}, FailureCode.BAD_SETTINGS),
        ("x", {"logit_bias": ((100_000, 1.0),)}, FailureCode.BAD_SETTINGS),
    ],
)
def test_a_refusal_has_a_code(tiny: Tiny, prompt: str, values: dict[str, Any], code: FailureCode) -> None:
    with pytest.raises(Rejected) as caught:
        tiny.engine().read(prompt, settings(**values))
    assert caught.value.code == code


def test_what_became_of_a_long_prompt_is_not_said_of_the_next_one(tiny: Tiny) -> None:
    for way in ("truncate-left", "shorten"):
        asked = settings(max_new_tokens=most(tiny) - 20, on_too_long=way)
        prompt = LONG if way == "truncate-left" else "The miller had a wheel. " * 4
        earlier = tiny.engine().read(prompt, asked)
        assert earlier.fitted is not None
        assert tiny.engine().read("Hi", asked, earlier).fitted is None
