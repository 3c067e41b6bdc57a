"""Databases for the browser to look at: jobs whose texts and scores stand in SQL, no model needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from contract.spec import PromptRow, SamplingSettings
from db.session.engine import Database
from db.work.outputs import GeneratedText, IncompletePrompt, ScoredText, texts_to_score
from tests.unit.db.mill import Mill

SHARES = {"toxicity": 1, "severe_toxicity": 0.2, "obscene": 0.5, "threat": 0.1, "insult": 0.7, "identity_attack": 0.15}


@dataclass(frozen=True)
class Piece:
    """One text and its scores."""

    text: str
    toxicity: float
    prompt: str = "Once upon a time"
    others: dict[str, float] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, float]:
        return {label: round(self.toxicity * share, 4) for label, share in SHARES.items()} | self.others


def stock(database: Database, pieces: Sequence[Piece], *, name: str = "prompts.jsonl", samples: int = 1) -> list[int]:
    """A finished job of these texts, `samples` of each prompt in a row. Returns the outputs' ids in order."""
    mill = Mill(database)
    prompts = [
        PromptRow(position=number, prompt=piece.prompt, n=samples, custom_id=f"r-{number}", metadata={"topic": "town"})
        for number, piece in enumerate(pieces[::samples])
    ]
    settings = SamplingSettings(temperature=0.8, top_p=0.95, n=samples)
    job = mill.submit(prompts, name=name, batch_size=max(len(prompts), 1), settings=settings)
    claim = mill.claim()
    mill.save(claim, [_text(pieces, samples, work, index) for work, index in mill.missing(claim)])
    mill.finish(claim)
    scoring = mill.claim_texts()
    by_text = {output.output_id: output for output in texts_to_score(database, scoring)}
    places = {row.id: row.position * samples + row.sample_index for row in mill.outputs(job)}
    mill.save_verdicts(scoring, [ScoredText(output_id=o, scores=pieces[places[o]].scores) for o in by_text])
    mill.finish_texts(scoring)
    return sorted(places, key=lambda output: places[output])


def _text(pieces: Sequence[Piece], samples: int, work: IncompletePrompt, index: int) -> GeneratedText:
    piece = pieces[work.position * samples + index]
    return GeneratedText(
        prompt_id=work.prompt_id,
        sample_index=index,
        text=piece.text,
        finish_reason="length",
        tokens=max(len(piece.text) // 4, 1),
        prompt_tokens=4,
        seed=8123 + work.position,
        mean_logprob=-2.41,
    )
