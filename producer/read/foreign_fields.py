"""Fields of OpenAI's and vLLM's completions that mean nothing here: a value that asks for what happens anyway passes.

See https://platform.openai.com/docs/api-reference/completions/create, …/chat/create for what clients send along, and
vLLM's `CompletionRequest` and `SamplingParams`.
"""

from __future__ import annotations

from typing import Any

from contract.errors import Problem
from producer.read.row_parser import BadRow

NEUTRAL: dict[str, tuple[object, ...]] = {
    # OpenAI.
    "stream": (False,),
    "stream_options": ({},),
    "echo": (False,),
    "suffix": ("",),
    "best_of": (1,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "top_logprobs": (0,),
    "web_search_options": (),
    "prompt_cache_key": ("",),
    "safety_identifier": ("",),
    # vLLM.
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "early_stopping": (False,),
    "ignore_eos": (False,),
    "stop_token_ids": ([],),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "add_special_tokens": (True, False),
    "truncate_prompt_tokens": (),
    "prompt_logprobs": (0,),
    "allowed_token_ids": ([],),
    "logits_processors": ([],),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": ([],),
    "guided_grammar": (),
    "structured_outputs": (),
    "priority": (0,),
    "request_id": (),
    "cache_salt": (),
    "return_tokens_as_token_ids": (False,),
    "return_token_ids": (False,),
    "kv_transfer_params": (),
    "vllm_xargs": ({},),
}
"""By field, the values that change nothing; null never does."""


def drop_neutral(fields: dict[str, Any]) -> None:
    """Removes such fields from a record.

    Raises:
        BadRow: one of them asks for something that is not done here.
    """
    for name in sorted(fields.keys() & NEUTRAL.keys()):
        value = fields.pop(name)
        alike = (*NEUTRAL[name], fields.get("n", 1)) if name == "best_of" else NEUTRAL[name]
        if value is not None and not any(_same(value, neutral) for neutral in alike):
            raise BadRow(Problem(name, "is not supported; remove it"))


def _same(value: object, neutral: object) -> bool:
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)
