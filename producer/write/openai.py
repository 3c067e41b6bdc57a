"""OpenAI's batch output files: a completion for each prompt, or a chat completion for messages; outputs are choices.

A dead or cancelled prompt is in the error file only, even if some of its outputs are stored. Every prompt has a
custom_id here: a made-up one where it had none.
See https://platform.openai.com/docs/api-reference/batch/request-output, …/completions/object and …/chat/object.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any, BinaryIO

import orjson

from contract.spec import PromptStatus
from db.results.export_rows import LostPrompt, StoredOutput
from producer.write.export_lines import ExportLines

_LOST = (PromptStatus.DEAD, PromptStatus.CANCELLED)
_ESCAPED_BYTE = re.compile(r"\\x([0-9a-f]{2})")


def write_openai(outputs: Iterable[StoredOutput], lines: ExportLines, file: BinaryIO) -> int:
    """Writes a line for each prompt. Returns the number of outputs.

    Raises:
        OSError: as `file` does.
    """
    rows = 0
    kept = (output for output in outputs if output.prompt_status not in _LOST)
    for _, samples in groupby(kept, lambda output: output.position):
        choices = list(samples)
        file.write(orjson.dumps(_response(choices, lines), option=orjson.OPT_APPEND_NEWLINE))
        rows += len(choices)
    return rows


def write_lost_openai(prompts: Iterable[LostPrompt], lines: ExportLines, file: BinaryIO) -> int:
    """Writes an error line for each dead or cancelled prompt. Returns the number of prompts.

    Raises:
        OSError: as `file` does.
    """
    rows = 0
    for prompt in prompts:
        file.write(orjson.dumps(_error(prompt, lines), option=orjson.OPT_APPEND_NEWLINE))
        rows += 1
    return rows


def _response(samples: list[StoredOutput], lines: ExportLines) -> dict[str, Any]:
    first = samples[0]
    request_key = f"{lines.job_id}-{first.position}"  # the same in every export of the job
    completion_tokens = sum(output.tokens for output in samples)
    prefix, kind, choice = CHAT if first.messages else TEXT
    return {
        "id": f"batch_req_{request_key}",
        "custom_id": lines.custom_id(first),
        "response": {
            "status_code": 200,
            "request_id": f"req_{request_key}",
            "body": {
                "id": f"{prefix}-{request_key}",
                "object": kind,
                "created": int(first.created_at),
                "model": first.model,
                "choices": [choice(output, withheld=lines.redacted(output)) for output in samples],
                "usage": {
                    "prompt_tokens": first.prompt_tokens,
                    "completion_tokens": completion_tokens,
                    "total_tokens": first.prompt_tokens + completion_tokens,
                },
            },
        },
        "error": None,
    }


def _choice(output: StoredOutput, *, withheld: bool) -> dict[str, Any]:
    # Withheld the way OpenAI does it: clients expect `text` to be a string.
    return {
        "index": output.sample_index,
        "text": "" if withheld else output.text,
        "logprobs": logprobs(output.logprobs, output.text) if output.logprobs and not withheld else None,
        **_ending_of(output, withheld=withheld),
    }


def _chat_choice(output: StoredOutput, *, withheld: bool) -> dict[str, Any]:
    return {
        "index": output.sample_index,
        "message": {"role": "assistant", "content": "" if withheld else output.text, "refusal": None},
        "logprobs": chat_logprobs(output.logprobs) if output.logprobs and not withheld else None,
        **_ending_of(output, withheld=withheld),
    }


def _ending_of(output: StoredOutput, *, withheld: bool) -> dict[str, Any]:
    return {
        "finish_reason": "content_filter" if withheld else output.finish_reason,
        # Not OpenAI's: clients ignore fields they do not know.
        "classifier": output.classifier,
        "classifier_revision": output.classifier_revision,
    }


TEXT = ("cmpl", "text_completion", _choice)
CHAT = ("chatcmpl", "chat.completion", _chat_choice)
"""What ids begin with, what an answer is called, and what a choice looks like, for prompts and for messages."""


def chat_logprobs(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Stored log probabilities as the chat completions endpoint returns them."""
    content = [
        _chat_logprob(entry["token"], entry["logprob"])
        | {"top_logprobs": [_chat_logprob(token, logprob) for token, logprob in (entry["top"] or {}).items()]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def _chat_logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(_token_bytes(token))}


def logprobs(entries: list[dict[str, Any]], text: str) -> dict[str, list[Any]]:
    """Stored log probabilities as the completions endpoint returns them.

    Args:
        entries: `{"token", "logprob", "top": {token: logprob}}` for each token.
        text: the text made of the tokens; `text_offset` counts its characters from 0 and never exceeds its length.
    """
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [entry["top"] or None for entry in entries],
        "text_offset": _offsets([entry["token"] for entry in entries], len(text)),
    }


def _offsets(tokens: Iterable[str], length: int) -> list[int]:
    # A character may be spread over several tokens, which then share its offset.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offsets, written = [], 0
    for token in tokens:
        offsets.append(min(written, length))
        written += len(decoder.decode(_token_bytes(token)))
    return offsets


def _token_bytes(token: str) -> bytes:
    if token.startswith("bytes:\\x"):  # how the engine writes a token that is not text by itself
        return bytes(int(digits, 16) for digits in _ESCAPED_BYTE.findall(token))
    return token.encode()


def _error(prompt: LostPrompt, lines: ExportLines) -> dict[str, Any]:
    cancelled = prompt.status == PromptStatus.CANCELLED
    return {
        "id": f"batch_req_{lines.job_id}-{prompt.position}",
        "custom_id": lines.custom_id(prompt),
        "response": None,
        "error": {
            "code": "batch_cancelled" if cancelled else "prompt_dead",
            "message": prompt.reason or ("the prompt was cancelled" if cancelled else "the prompt was given up"),
        },
    }
