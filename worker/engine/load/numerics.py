"""The bits that an engine computes for some fixed requests, as one short digest.

Workers that round otherwise show it here, whatever is the reason: cores, threads, processors, versions, environment
variables. What decides a last bit need not be known by name to be told apart. A kernel that only other numbers of rows
choose would go unseen: that a row does not depend on their number is tried for each layer when it is loaded.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from contract.spec import SamplingSettings
from worker.engine.sequence import Completion, Fault, Request

WORDS = (1, 3, 8, 20)
"""Words in each request's prompt: steps of few rows and of many are computed."""
NEW_TOKENS = 4
ALTERNATIVES = 20  # logits of each step that come out, and so into the digest


class Engine(Protocol):
    """What is asked of an engine here."""

    @property
    def pending(self) -> int: ...

    @property
    def pause(self) -> float: ...

    def add(self, requests: Iterable[Request]) -> None: ...

    def step(self) -> Sequence[Completion | Fault]: ...


def numerics(engine: Engine) -> str:
    """16 hexadecimal digits. The engine must hold no requests; it holds none afterwards."""
    engine.add(_requests())
    ended: list[Completion | Fault] = []
    while engine.pending:
        ended += engine.step()
        time.sleep(engine.pause)
    digest = hashlib.blake2b(digest_size=8)
    for result in sorted(ended, key=lambda result: str(result.key)):
        digest.update(_bits(result))
    return digest.hexdigest()


def _requests() -> list[Request]:
    settings = SamplingSettings(max_new_tokens=NEW_TOKENS, logprobs=ALTERNATIVES)
    words = [f"word{number}" for number in range(max(WORDS))]
    return [Request(count, " ".join(words[:count]), settings, seed=count) for count in WORDS]


def _bits(result: Completion | Fault) -> bytes:
    if isinstance(result, Fault):  # a model may have fewer positions than a prompt has tokens
        return b"fault"
    numbers = [number for token in result.logprobs or () for number in (token["logprob"], *token["top"].values())]
    return struct.pack(f"<{len(numbers)}d", *numbers) + result.text.encode()
