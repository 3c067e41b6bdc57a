"""The flag policy: from an output's scores to whether a person has to look at it.

Pure functions of numbers; who computes the scores and where flags are stored is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from common.near_misses import did_you_mean
from contract.errors import UsageError

LABELS = (
    "toxicity",
    "severe_toxicity",
    "obscene",
    "threat",
    "insult",
    "identity_attack",
    "sexual_explicit",
)
"""The labels of Detoxify's classifiers under their standard names; `original` has no sexual_explicit."""

ORIGINAL_LABELS = LABELS[:-1]
"""Those of `original`, in the order of its outputs."""
LONGEST_LABEL = 40
"""Characters of a wrong label that its error quotes."""

DEFAULT_THRESHOLD = 0.7
UNSCORED = "unscored"
BLOCKLIST = "blocklist:"

BUILT_IN_CLASSIFIERS = ("original", "unbiased", "multilingual", "original-small", "unbiased-small", "demo")
NO_SAFETY = "none"
MULTILINGUAL = "multilingual"
KNOWN_LANGUAGES = dict.fromkeys(BUILT_IN_CLASSIFIERS, "English") | {
    MULTILINGUAL: "English, French, Spanish, Italian, Portuguese, Turkish and Russian"
}
"""What each was trained on."""
KNOWN_SCRIPTS = {name: ("Latin", "Cyrillic") if name == MULTILINGUAL else ("Latin",) for name in BUILT_IN_CLASSIFIERS}


class ScoreBy(StrEnum):
    """What a classifier reads at once. A text has the highest score of its parts."""

    WINDOW = "window"  # as much as it can: a rude sentence among harmless ones scores lower than alone
    SENTENCE = "sentence"  # each sentence by itself


def read_score_by(value: str) -> ScoreBy:
    """What a user says of it.

    Raises:
        ValueError: it is neither.
    """
    if value not in tuple(ScoreBy):
        raise ValueError(f"must be {' or '.join(ScoreBy)}, not {value[:LONGEST_LABEL]!r}")
    return ScoreBy(value)


def flag_reasons(
    scores: Mapping[str, float], thresholds: Mapping[str, float], blocked: Sequence[str] = ()
) -> list[str]:
    """Why an output is flagged; empty where it is not.

    Args:
        scores: probability (0 to 1) by label.
        thresholds: a label's own threshold, where it is not `DEFAULT_THRESHOLD`.
        blocked: the blocklist's words found in the text.

    Returns:
        The labels at or over their threshold, in the order of `LABELS`, then `blocklist:WORD` for each word.
    """
    over = [label for label in LABELS if label in scores and scores[label] >= thresholds.get(label, DEFAULT_THRESHOLD)]
    return over + [BLOCKLIST + word for word in blocked]


def top_score(scores: Mapping[str, float]) -> float | None:
    """The highest of an output's scores: what the review queue is ordered by."""
    return max(scores.values(), default=None)


def read_thresholds(pairs: Sequence[str]) -> dict[str, float]:
    """`LABEL=X` pairs as a mapping; a bare `X` sets every label.

    Raises:
        UsageError: naming the pair and what would be right.
    """
    thresholds: dict[str, float] = {}
    for pair in pairs:
        label, equals, number = pair.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise UsageError(f"--threshold {pair}: must be LABEL=X with X from 0 to 1, for example toxicity=0.5")
        if not equals:
            thresholds.update(dict.fromkeys(LABELS, value))
        elif label in LABELS:
            thresholds[label] = value
        else:
            raise UsageError(f"--threshold {pair}: {unknown_label(label)}")
    return thresholds


def unknown_label(label: str) -> str:
    """What is wrong with a name that is no label, and which one may be meant."""
    hint = did_you_mean(label, LABELS, "labels: " + ", ".join(LABELS))
    return f"{label[:LONGEST_LABEL]!r} is not a label; {hint}"
