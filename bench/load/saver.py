"""One process that works off batches by the functions a worker calls, with no engine.

`python -m bench.load.saver URL NUMBER scores|none GROUP`; GROUP = texts or scores saved at once.
Texts and scores are made beforehand as far as that is possible, so that what takes time is the database.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from bench.load.inside.stubs import PROMPT_TOKENS, TOKENS, scores_of, text_of
from bench.load.jobs import LEASE, ability, provenance
from bench.load.process_group import print_report, wait_for_start
from db.session.engine import open_database
from db.work.claims import Claim, claim_generation, claim_scoring, finish_generation, finish_scoring
from db.work.outputs import (
    GeneratedText,
    IncompletePrompt,
    ScoredText,
    incomplete_prompts,
    provenance_id,
    save_scores,
    save_texts,
    texts_to_score,
)

T = TypeVar("T")


class Saver:
    """Claims, saves and ends batches until none is left."""

    def __init__(self, url: str, number: str, *, scores: bool, group: int) -> None:
        self._database, self._ability = open_database(url), ability(f"saver-{number}")
        self._scored_later, self._group = scores, group
        self._made_by = provenance_id(self._database, provenance())
        self.spent: dict[str, float] = defaultdict(float)  # seconds by what was called
        self.outputs = 0
        self._texts = [text_of(seed * 7919) for seed in range(1024)]
        self._scores = {text: scores_of(text) for text in self._texts}

    def work(self) -> None:
        while True:
            claim = self._timed("claim", lambda: claim_generation(self._database, self._ability, LEASE))
            if claim is not None:
                self._generate(claim)
                continue
            claim = self._timed("claim", lambda: claim_scoring(self._database, self._ability, LEASE))
            if claim is None:
                return
            self._score(claim)

    def _generate(self, claim: Claim) -> None:
        work = self._timed("read the prompts", lambda: incomplete_prompts(self._database, claim))
        for first in range(0, len(work), self._group):
            texts = [self._text(one) for one in work[first : first + self._group]]
            self._timed("save texts", lambda texts=texts: self._save(claim, texts))  # type: ignore[misc]
        scored = self._timed("end", lambda: finish_generation(self._database, claim))
        self.outputs += len(work)
        if scored:
            mine = self._timed(
                "claim", lambda: claim_scoring(self._database, self._ability, LEASE, hint=claim.batch_id)
            )
            if mine is not None:
                self._score(mine)

    def _save(self, claim: Claim, texts: list[GeneratedText]) -> None:
        save_texts(self._database, claim, texts, self._made_by, scored_later=self._scored_later)

    def _text(self, work: IncompletePrompt) -> GeneratedText:
        return GeneratedText(
            prompt_id=work.prompt_id,
            sample_index=0,
            text=self._texts[work.position % len(self._texts)],
            finish_reason="length",
            tokens=TOKENS,
            prompt_tokens=PROMPT_TOKENS,
            seed=work.position,
            mean_logprob=-2.5,
        )

    def _score(self, claim: Claim) -> None:
        texts = self._timed("read the texts", lambda: texts_to_score(self._database, claim))
        for first in range(0, len(texts), self._group):
            group = texts[first : first + self._group]
            verdicts = [ScoredText(output_id=text.output_id, scores=self._scores[text.text]) for text in group]
            self._timed("save scores", lambda verdicts=verdicts: self._save_scores(claim, verdicts))  # type: ignore[misc]
        self._timed("end", lambda: finish_scoring(self._database, claim))

    def _save_scores(self, claim: Claim, verdicts: list[ScoredText]) -> None:
        save_scores(self._database, claim, verdicts, (), classifier="demo", classifier_revision="stub 1")

    def _timed(self, what: str, task: Callable[[], T]) -> T:
        start = time.perf_counter()
        try:
            return task()
        finally:
            self.spent[what] += time.perf_counter() - start


def main() -> None:
    url, number, scores, group = sys.argv[1:]
    saver = Saver(url, number, scores=scores == "scores", group=int(group))
    wait_for_start()
    saver.work()
    print_report(outputs=saver.outputs, spent=saver.spent)


if __name__ == "__main__":
    main()
