"""A conversation as the prompt that the model's chat template makes of it.

Wraps a transformers tokenizer. What is done with the prompt is not known here.
"""

from __future__ import annotations

from typing import Any

from common.wording import on_one_line
from contract.failures import FailureCode
from contract.spec import Messages
from worker.engine.encoded_prompt import Rejected
from worker.engine.memory_blame import out_of_memory
from worker.engine.tokenizer import Vocabulary

SHOWN_REASON = 300
"""Characters of what a template says against messages."""


class ChatTemplate:
    """The chat template of a model, if it has one."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    @property
    def exists(self) -> bool:
        """Whether the model has one."""
        return bool(getattr(self._vocabulary.tokenizer, "chat_template", None))

    def prompt_of(self, messages: Messages, model: str) -> str:
        """The prompt behind which the model answers; it has the tokens that a text starts with, where there are any.

        Args:
            model: what the user calls it.

        Raises:
            Rejected: it has no chat template, or one that does not take these messages.
        """
        if not self.exists:
            raise Rejected(
                f"the row has messages, and the model {on_one_line(model)} has no chat template to make a prompt of "
                "them; write them as one prompt, or choose a model that was tuned to chat",
                FailureCode.NO_CHAT_TEMPLATE,
            )
        try:
            template: Any = self._vocabulary.tokenizer.apply_chat_template
            return str(template(messages, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # whatever the template's code raises
            if out_of_memory(error):
                raise
            said = on_one_line(str(error) or type(error).__name__)[:SHOWN_REASON]
            raise Rejected(
                f"the chat template of the model {on_one_line(model)} does not take these messages: {said}",
                FailureCode.BAD_PROMPT,
            ) from error
