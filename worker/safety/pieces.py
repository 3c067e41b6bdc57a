"""What of a text is scored by itself: all of it, or each sentence; and what the scores of the pieces make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from contract.policy import ScoreBy
from worker.safety.sentences import Span, sentences

Scores = Mapping[str, float]
"""Probability (0 to 1) by label."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A text's scores, and what decided them."""

    scores: Scores
    deciding: Mapping[str, Span] | None  # by label, the sentence that has its score; None = the text as a whole


def pieces_of(text: str, score_by: ScoreBy) -> list[Span]:
    """What of a text is scored by itself."""
    return sentences(text) if score_by is ScoreBy.SENTENCE else [(0, len(text))]


def judge(texts: Sequence[str], score_by: ScoreBy, score: Callable[[list[str]], Sequence[Scores]]) -> list[Judgement]:
    """The scores of texts: for each label the highest of a text's pieces; of equal ones the first decides.

    Args:
        score: gives the scores of pieces.
    """
    spans = [pieces_of(text, score_by) for text in texts]
    scores = score_pieces([cut(text, some) for text, some in zip(texts, spans, strict=True)], score)
    by_sentence = score_by is ScoreBy.SENTENCE
    return [
        Judgement(highest(each), _deciding(some, each) if by_sentence else None)
        for some, each in zip(spans, scores, strict=True)
    ]


def cut(text: str, spans: Sequence[Span]) -> list[str]:
    """The pieces of a text."""
    return [text[start:end] for start, end in spans]


def score_pieces(texts: Sequence[Sequence[str]], score: Callable[[list[str]], Sequence[Scores]]) -> list[list[Scores]]:
    """The scores of each text's pieces; pieces that are alike are scored once."""
    distinct = list(dict.fromkeys(piece for pieces in texts for piece in pieces))
    known = dict(zip(distinct, score(distinct), strict=True))
    return [[known[piece] for piece in pieces] for pieces in texts]


def highest(pieces: Sequence[Scores]) -> dict[str, float]:
    """Of each label the highest score."""
    return {label: max(scores[label] for scores in pieces) for label in pieces[0]}


def _deciding(spans: Sequence[Span], pieces: Sequence[Scores]) -> dict[str, Span]:
    return {label: max(zip(spans, pieces, strict=True), key=lambda one: one[1][label])[0] for label in pieces[0]}
