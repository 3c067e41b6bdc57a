"""OpenAI's batch output files: a response of the completions endpoint for each prompt, its outputs as choices.

A prompt that died or was cancelled stands in the error file alone, even where some of its outputs are stored.
See https://platform.openai.com/docs/api-reference/batch/request-output and …/completions/object.
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
from producer.write.export_lines import Lines

_LOST = (PromptStatus.DEAD, PromptStatus.CANCELLED)
_BYTE = re.compile(r"\\x([0-9a-f]{2})")


def write_openai(outputs: Iterable[StoredOutput], lines: Lines, file: BinaryIO) -> int:
    """Writes a line for each prompt. Returns how many outputs are in them."""
    rows = 0
    kept = (output for output in outputs if output.prompt_status not in _LOST)
    for _, samples in groupby(kept, lambda output: output.position):
        choices = list(samples)
        file.write(orjson.dumps(_response(choices, lines), option=orjson.OPT_APPEND_NEWLINE))
        rows += len(choices)
    return rows


def write_lost_openai(prompts: Iterable[LostPrompt], job_id: int, file: BinaryIO) -> int:
    """Writes a line with an error for each dead or cancelled prompt. Returns how many."""
    rows = 0
    for prompt in prompts:
        file.write(orjson.dumps(_error(prompt, job_id), option=orjson.OPT_APPEND_NEWLINE))
        rows += 1
    return rows


def _response(samples: list[StoredOutput], lines: Lines) -> dict[str, Any]:
    first = samples[0]
    place = f"{lines.job_id}-{first.position}"  # ids that another export of the job gives again
    written = sum(output.tokens for output in samples)
    return {
        "id": f"batch_req_{place}",
        "custom_id": _custom_id(first),
        "response": {
            "status_code": 200,
            "request_id": f"req_{place}",
            "body": {
                "id": f"cmpl-{place}",
                "object": "text_completion",
                "created": int(first.created_at),
                "model": first.model,
                "choices": [_choice(output, withheld=lines.redacted(output)) for output in samples],
                "usage": {
                    "prompt_tokens": first.prompt_tokens,
                    "completion_tokens": written,
                    "total_tokens": first.prompt_tokens + written,
                },
            },
        },
        "error": None,
    }


def _choice(output: StoredOutput, *, withheld: bool) -> dict[str, Any]:
    # Withheld as OpenAI says it: clients expect a text to be text.
    return {
        "index": output.sample_index,
        "text": "" if withheld else output.text,
        "finish_reason": "content_filter" if withheld else output.finish_reason,
        "logprobs": logprobs(output.logprobs, output.text) if output.logprobs and not withheld else None,
        # Not OpenAI's: clients pass over what they do not know.
        "classifier": output.classifier,
        "classifier_revision": output.classifier_revision,
    }


def logprobs(entries: list[dict[str, Any]], text: str) -> dict[str, list[Any]]:
    """Stored log probabilities in the completions endpoint's form.

    Args:
        entries: `{"token", "logprob", "top": {token: logprob}}` for each token.
        text: what the tokens wrote; `text_offset` counts its characters from 0, and stays within it.
    """
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [entry["top"] for entry in entries],
        "text_offset": _offsets([entry["token"] for entry in entries], len(text)),
    }


def _offsets(tokens: Iterable[str], length: int) -> list[int]:
    # A character may be spread over several tokens: each of them starts where it does.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offsets, written = [], 0
    for token in tokens:
        offsets.append(min(written, length))
        written += len(decoder.decode(_bytes(token)))
    return offsets


def _bytes(token: str) -> bytes:
    if token.startswith("bytes:\\x"):  # how the engine shows a token that is no text by itself
        return bytes(int(digits, 16) for digits in _BYTE.findall(token))
    return token.encode()


def _error(prompt: LostPrompt, job_id: int) -> dict[str, Any]:
    cancelled = prompt.status == PromptStatus.CANCELLED
    return {
        "id": f"batch_req_{job_id}-{prompt.position}",
        "custom_id": _custom_id(prompt),
        "response": None,
        "error": {
            "code": "batch_cancelled" if cancelled else "prompt_dead",
            "message": prompt.reason or ("the prompt was cancelled" if cancelled else "the prompt was given up"),
        },
    }


def _custom_id(prompt: StoredOutput | LostPrompt) -> str:
    return str(prompt.position) if prompt.custom_id is None else prompt.custom_id
