"""Messages through a chat template: the same text as transformers makes, and which of it is learned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import BadCorpus
from producer.corpus.documents.chat_template import ChatTemplate
from producer.read.row_parser import BadRow
from tests.unit.producer.corpus.conftest import END, Prepared, jsonl
from worker.demo import GPT2_DIR

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = (
    "{%- for message in messages %}{%- if message.role == 'system' %}{{- raise_exception('no system messages') }}"
    "{%- elif message.role == 'user' %}{{- bos_token + '[INST] ' + message.content | trim + ' [/INST]' }}"
    "{%- else %}{% generation %}{{- ' ' + message.content + eos_token }}{% endgeneration %}{%- endif %}{%- endfor %}"
)
JSON = "{% for m in messages %}{{ m | tojson }}{% if loop.last %}{% break %}{% endif %}{% endfor %}{{ eos_token }}"
TURNS = [
    {"role": "user", "content": "A river?"},
    {"role": "assistant", "content": "The Elbe."},
    {"role": "user", "content": "Another?"},
    {"role": "assistant", "content": "Die Weser, 'ü'."},
]
Prepare = Callable[..., Prepared]


def model_with(template: str | None, folder: Path, *, as_file: bool = False) -> Path:
    """A copy of the demonstration model's tokenizer with that template."""
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GPT2_DIR / name, folder / name)
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    if template and as_file:
        (folder / "chat_template.jinja").write_text(template)
    elif template:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("template", [CHATML, PLAIN, JSON], ids=["chatml", "plain", "json"])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_conversation_is_the_text_that_transformers_makes(tmp_path: Path, template: str, as_file: bool) -> None:
    from transformers import AutoTokenizer

    folder = model_with(template, tmp_path / "model", as_file=as_file)
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = ChatTemplate(folder, END)
    for messages in (TURNS, TURNS[:2], TURNS[:1]):
        for answer in (False, True):
            expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer)
            assert ours._render(messages, answer=answer) == expected


def test_every_answer_is_learned_and_what_was_asked_is_read(prepare: Prepare, tmp_path: Path) -> None:
    model = model_with(CHATML, tmp_path / "model")
    prepared = prepare({"t.jsonl": jsonl([{"messages": TURNS}])}, model=model, validation=0.0)
    asked = "<|im_start|>user\nA river?<|im_end|>\n<|im_start|>assistant\n"
    assert prepared.train[0].startswith(asked) and prepared.train[0].endswith("Die Weser, 'ü'.<|im_end|>\n")
    assert prepared.learned == ["The Elbe.<|im_end|>\nDie Weser, 'ü'.<|im_end|>\n"]
    everything = prepare({"t.jsonl": jsonl([{"messages": TURNS}])}, model=model, validation=0.0, train_on_prompts=True)
    assert everything.corpus.train.loss is None and everything.train == prepared.train


def test_a_template_that_ends_with_the_end_of_text_gets_no_second_one(prepare: Prepare, tmp_path: Path) -> None:
    prepared = prepare(
        {"t.jsonl": jsonl([{"messages": TURNS[:2]}])}, model=model_with(PLAIN, tmp_path / "model"), validation=0.0
    )
    tokens = prepared.corpus.train.tokens.tolist()
    assert tokens.count(prepared.corpus.end_of_text) == 2  # the template begins with that token too
    assert (
        prepared.tokenizer.decode(tokens, skip_special_tokens=False) == f"{END}[INST] A river? [/INST] The Elbe.{END}"
    )
    assert prepared.corpus.train.loss is not None and prepared.corpus.train.loss[-1] == 1


def test_messages_in_a_table_are_json(prepare: Prepare, tmp_path: Path) -> None:
    cell = json.dumps(TURNS[:2]).replace('"', '""')
    prepared = prepare({"t.csv": f'messages\n"{cell}"\n'}, model=model_with(CHATML, tmp_path / "model"), validation=0.0)
    assert prepared.learned == ["The Elbe.<|im_end|>\n"]


def test_messages_in_parquet_are_lists(prepare: Prepare, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"messages": TURNS, "source": "x"}]), tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    prepared = prepare({"t.parquet": data}, model=model_with(CHATML, tmp_path / "model"), validation=0.0)
    assert prepared.learned == ["The Elbe.<|im_end|>\nDie Weser, 'ü'.<|im_end|>\n"]


def refusals() -> list[tuple[str | None, Any, str]]:
    return [
        (None, TURNS, "need a model with a chat template, and this one has none"),
        (CHATML, TURNS[:1], "have no answer; a message of the assistant is what the model learns"),
        (CHATML, [], "is an empty list"),
        (CHATML, [{"role": "asistant", "content": "x"}], "is 'asistant'; did you mean"),
        (PLAIN, [{"role": "system", "content": "x"}, *TURNS], "are not taken by the model's chat template: no system"),
        ("{{ messages | length }}", TURNS, "are changed by the chat template, so that their answers cannot be told"),
    ]


@pytest.mark.parametrize(("template", "messages", "told"), refusals())
def test_messages_that_cannot_be_used_are_named(
    prepare: Prepare, tmp_path: Path, template: str | None, messages: Any, told: str
) -> None:
    with pytest.raises(BadCorpus, match=rf"(?s)line 1: messages.*{told}"):
        prepare({"t.jsonl": jsonl([{"messages": messages}])}, model=model_with(template, tmp_path / "model"))


def test_a_template_runs_in_a_sandbox(tmp_path: Path) -> None:
    template = ChatTemplate(model_with("{{ messages.__class__.__mro__ }}", tmp_path / "model"), END)
    with pytest.raises(BadRow, match="are not taken by the model's chat template"):
        template.segments(TURNS)
