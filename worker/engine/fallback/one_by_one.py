"""The engine for models that can be run in no other way: transformers' generate, one request at a time.

The same interface, sampling rules, seeds and stop strings as the other engines; only slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from contract.spec import ONE_BY_ONE, SamplingSettings
from worker.engine.admission import RunningSequence, admit, code_of, describe
from worker.engine.chat import ChatTemplate
from worker.engine.compiled.compiling import ensure_compiled
from worker.engine.encoded_prompt import Alive, EncodedPrompt, ModelLimits, Rejected, read
from worker.engine.forward import Logits
from worker.engine.memory_blame import Shortage, out_of_memory
from worker.engine.sampling.sampler import sample, warm_sampling
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.tokenizer import Vocabulary

Report = Completion | Fault


class FallbackEngine:
    """Requests in, completions and faults out. Only one thread may call it, but for `read`."""

    name = ONE_BY_ONE
    slots = 1
    active = 0  # a step begins and ends a whole request

    def __init__(self, model: Any, vocabulary: Vocabulary) -> None:
        ensure_compiled("fp32")  # of which it needs sampling
        self.model = model
        self._vocabulary, self.chat_template = vocabulary, ChatTemplate(vocabulary)
        config = model.config.get_text_config()
        self._limits = ModelLimits(config.vocab_size, getattr(config, "max_position_embeddings", None))
        self._waiting: deque[Request] = deque()
        self._shortage = Shortage()
        self._writing: RunningSequence | None = None
        self.alive: Callable[[], object] = lambda: None  # called for every token: a step is a whole text here
        rules: Any = GenerationConfig  # untyped
        self._rules = rules(do_sample=False, num_beams=1, use_cache=True, pad_token_id=0)
        # Whatever generation_config came with the model: it must not add rules of its own.
        self.model.generation_config = self._rules

    @property
    def free(self) -> int:
        return self.slots

    @property
    def pause(self) -> float:
        """Seconds to wait before the next step, where there was no memory for the last text; else 0."""
        return self._shortage.pause

    @property
    def pending(self) -> int:
        """Requests that were added and not yet reported or cancelled."""
        return len(self._waiting)

    def read(
        self,
        prompt: str,
        settings: SamplingSettings,
        earlier: EncodedPrompt | None = None,
        alive: Alive = lambda: None,
        *,
        chat: bool = False,
    ) -> EncodedPrompt:
        """As the slot engine's."""
        return read(prompt, settings, self._vocabulary, self._limits, earlier, alive, chat=chat)

    def tokens(self, text: str) -> list[int]:
        """A text's own tokens, none of them put before it; see Vocabulary.tokens."""
        return self._vocabulary.tokens(text)

    def add(self, requests: Iterable[Request]) -> None:
        """Put requests at the end of the waiting queue.

        Raises:
            ValueError: a key that is pending already; nothing is added then.
        """
        held = {request.key for request in self._waiting}
        added = []
        for request in requests:
            if request.key in held:
                raise ValueError(f"the engine already holds a request with the key {request.key!r}")
            held.add(request.key)
            added.append(request)
        self._waiting.extend(added)

    def cancel(self, keys: Iterable[Hashable]) -> None:
        """Forget these requests; nothing will be reported of them. Unknown keys are passed over."""
        cancelled = set(keys)
        for key in cancelled:
            self._shortage.forget(key)
        self._waiting = deque(request for request in self._waiting if request.key not in cancelled)

    def so_far(self, key: Hashable) -> str:
        """As the slot engine's. Only `alive` can ask in time."""
        writing = self._writing and self._writing.sequence
        return writing.so_far() if writing and writing.request.key == key else ""

    def warm(self) -> None:
        """As the slot engine's."""
        warm_sampling()

    def step(self) -> list[Report]:
        """Write one whole text."""
        if not self._waiting:
            return []
        request = self._waiting.popleft()
        try:
            completion = self._write(request)
        except Rejected as error:
            return [Fault(request.key, str(error), certain=True, code=error.code)]
        except Exception as error:
            if out_of_memory(error) and not self._shortage.charges(request.key):
                self._waiting.insert(self._shortage.place(self._waiting), request)
                return []
            return [Fault(request.key, describe(error), certain=False, code=code_of(error))]
        self._shortage.relieved()
        self._shortage.finished(request.key)
        return [completion]

    def _write(self, request: Request) -> Completion:
        running = self._writing = admit(request, self._vocabulary, self._limits)
        processor = _SamplingProcessor(running, self._vocabulary, self.alive)
        prompt = torch.tensor([running.prompt], device=self.model.device)  # [1, length]
        self.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=self._rules,
            max_new_tokens=running.sequence.request.settings.max_new_tokens,
            logits_processor=LogitsProcessorList([processor]),
            stopping_criteria=StoppingCriteriaList([_StopWhenFinished(running)]),
        )
        return running.sequence.completion()


class _SamplingProcessor(LogitsProcessor):
    """Draws the next token itself and leaves generate no other; the text grows on the way."""

    def __init__(self, running: RunningSequence, vocabulary: Vocabulary, alive: Callable[[], object]) -> None:
        self._running, self._vocabulary, self._alive = running, vocabulary, alive

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores`: [1, vocabulary], raw. Returns the same, -inf but for the token that was drawn."""
        self._alive()
        (choice,) = sample(Logits(scores.float().cpu(), np.zeros(1, np.float32)), [self._running.state])
        if isinstance(choice, Exception):
            raise choice
        self._running.append(choice, self._vocabulary)
        forced = torch.full_like(scores, -torch.inf)
        forced[0, choice.token] = 0
        return forced


class _StopWhenFinished(StoppingCriteria):
    def __init__(self, running: RunningSequence) -> None:
        self._running = running

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        finished = self._running.sequence.finish_reason is not None
        return torch.full((input_ids.shape[0],), finished, device=input_ids.device)
