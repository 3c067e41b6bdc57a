"""Messages, the chat template's prompt of them, and where the answer ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHAT_TEMPLATE, Tiny, load_tiny, make_gpt2, run_all, settings
from tokenizers import processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from contract.failures import FailureCode
from worker.engine.chat import ChatTemplate
from worker.engine.encoded_prompt import Rejected
from worker.engine.load.checkpoint import in_folder
from worker.engine.load.from_transformers import read_tokenizer
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.tokenizer import ByteVocabulary

TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The river turned"}]


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return load_tiny(make_gpt2(tmp_path_factory.mktemp("chat"), chat=CHAT_TEMPLATE))


def vocabulary_with(tiny: Tiny, template: str, **names: Any) -> ByteVocabulary:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny.tokenizer.backend_tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>", **names
    )
    tokenizer.chat_template = template
    return ByteVocabulary(tokenizer, tiny.reference.config)


def test_messages_are_sent_as_transformers_would_send_them(chatty: Tiny) -> None:
    engine = chatty.engine()
    sent = engine.chat_template.prompt_of(TALK, "tiny")
    assert sent.endswith("turned<|im_end|>\n<|im_start|>assistant\n")
    expected = chatty.tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_dict=False)
    assert engine.read(sent, settings(), chat=True).tokens == expected


def test_the_template_alone_says_what_a_text_starts_with(chatty: Tiny) -> None:
    backend = chatty.tokenizer.backend_tokenizer
    start = backend.token_to_id("<|endoftext|>")
    plain, backend.post_processor = (
        backend.post_processor,
        processors.TemplateProcessing(
            single="<|endoftext|> $A", pair="$A $B", special_tokens=[("<|endoftext|>", start)]
        ),
    )
    try:
        vocabulary = vocabulary_with(chatty, CHAT_TEMPLATE)
    finally:
        backend.post_processor = plain
    sent = ChatTemplate(vocabulary).prompt_of(TALK, "tiny")
    assert vocabulary.encode("Once")[0] == start
    assert vocabulary.encode(sent, chat=True).count(start) == 1
    assert vocabulary.encode("Once", chat=True)[0] != start


def test_a_text_ends_where_the_answer_does(chatty: Tiny) -> None:
    end = chatty.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end not in chatty.vocabulary.eos  # no configuration names it
    assert chatty.vocabulary.turn_ends == {end}
    biased = {"logit_bias": ((end, 100.0),), "max_new_tokens": 6}
    sent = chatty.engine().chat_template.prompt_of(TALK, "tiny")
    requests = [
        Request("chat", sent, settings(**biased), 1, chat=True),
        Request("longer", sent, settings(**biased, min_new_tokens=3), 1, chat=True),
        Request("plain", sent, settings(**biased), 1),
    ]
    told = {key: report for key, report in run_all(chatty.engine(), requests).items() if isinstance(report, Completion)}
    assert {key: (one.finish_reason, one.tokens) for key, one in told.items()} == {
        "chat": ("stop", 1), "longer": ("stop", 4), "plain": ("length", 6),
    }  # fmt: skip
    assert told["chat"].text == ""
    assert "<|im" not in told["longer"].text


def test_plain_prompts_and_conversations_share_no_rules(chatty: Tiny) -> None:
    engine = chatty.engine()
    chat = engine.read("Once", settings(), chat=True)
    assert engine.read("Once", settings(), chat).stop_tokens == frozenset()
    assert engine.read("Once", settings(), chat, chat=True).rules is chat.rules


def test_a_template_without_an_end_of_turn_ends_nothing(chatty: Tiny) -> None:
    assert vocabulary_with(chatty, "{% for m in messages %}{{ m.content }}\n{% endfor %}").turn_ends == frozenset()
    assert vocabulary_with(chatty, "{{ raise_exception('never') }}").turn_ends == frozenset()


def test_a_model_without_a_template_refuses_messages_by_name(tiny: Tiny) -> None:
    template = tiny.engine().chat_template
    assert not template.exists
    with pytest.raises(Rejected, match="the model my/gpt2 has no chat template") as refusal:
        template.prompt_of(TALK, "my/gpt2")
    assert refusal.value.code is FailureCode.NO_CHAT_TEMPLATE


@pytest.mark.parametrize(
    ("template", "said"),
    [("{{ raise_exception('System role not supported') }}", "System role not supported"),
     ("{{ messages[0].content.nothing() }}", "nothing"), ("{% for %}", "")],
)  # fmt: skip
def test_what_a_template_says_against_messages_is_told(chatty: Tiny, template: str, said: str) -> None:
    with pytest.raises(Rejected, match=f"model tiny does not take these messages: .*{said}") as refusal:
        ChatTemplate(vocabulary_with(chatty, template)).prompt_of(TALK, "tiny")
    assert refusal.value.code is FailureCode.BAD_PROMPT


def test_nothing_is_left_out_of_a_conversation_that_is_too_long(chatty: Tiny) -> None:
    short = chatty.engine().chat_template.prompt_of([{"role": "user", "content": "The river?"}], "tiny")
    long = chatty.engine().chat_template.prompt_of([{"role": "user", "content": "The river turned. " * 60}], "tiny")
    requests = [
        Request("cut", long, settings(on_too_long="truncate-left", max_new_tokens=8), 1, chat=True),
        Request("plain", long, settings(on_too_long="truncate-left", max_new_tokens=8), 1),
        Request("short", short, settings(on_too_long="truncate-left", max_new_tokens=1000), 1, chat=True),
    ]
    told = run_all(chatty.engine(), requests)
    cut = told["cut"]
    assert isinstance(cut, Fault) and cut.code is FailureCode.TOO_LONG
    assert isinstance(told["plain"], Completion)
    assert isinstance(told["short"], Completion) and told["short"].tokens < 1000


def test_the_template_belongs_to_the_revision(tmp_path: Path) -> None:
    folder = make_gpt2(tmp_path, chat=CHAT_TEMPLATE)
    assert "chat_template.jinja" in in_folder(folder).others
    assert (
        read_tokenizer(in_folder(folder)).chat_template
        == AutoTokenizer.from_pretrained(folder).chat_template
        == CHAT_TEMPLATE
    )
    before = in_folder(folder).revision()
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE + "!")
    assert in_folder(folder).revision() != before
