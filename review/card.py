"""One output in the focus view: what is covered, what is highlighted, how much of a long text is shown."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from markupsafe import Markup

from contract.policy import BLOCKLIST, DEFAULT_THRESHOLD, NO_SAFETY
from contract.review import DECIDED_STATES, Seen
from contract.spec import Safety, SamplingSettings
from contract.text_flaws import LONG_RUN
from db.review.detail import OutputDetail, read_output
from db.search import plain_value, read_query
from db.work.score_requests import MarkedWords, read_words
from review.context import Page
from review.queue_view import QueueView
from review.reading import covers
from review.show.marks import FLOOR, Carrier, Mark, carriers, laid_over, listed_marks, score_marks, top_words
from review.show.text_markup import SHOWN_CHARACTERS, marked, marked_for

SHOWN_CUSTOM_ID, SHOWN_METADATA, SHOWN_NAME, SHOWN_VALUE = 100, 12, 60, 200
"""Characters of a custom_id; entries of metadata, and characters of a name and of a value."""
SEEN_WORDS = {
    Seen.REVEALED: "covered, revealed",
    Seen.LISTED: "in the table",
    Seen.COVERED: "covered, not revealed",
    Seen.UNOPENED: "never opened",
}
"""How the record says that a text was seen otherwise than open."""


@dataclass(frozen=True, slots=True)
class ScoreBar:
    """One label's score beside its threshold."""

    label: str
    score: float
    threshold: float

    @property
    def over(self) -> bool:
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True)
class DecidingSentence:
    """A sentence of the text, and the scores that the text has from it."""

    text: str
    bars: tuple[ScoreBar, ...]


def card(page: Page, view: QueueView, output_id: int) -> Markup:
    """The card of one output as markup. `reveal` and `full` in the address show a covered text and all of a long one.

    Raises:
        NoSuchOutput: there is none with that number.
    """
    return page.fragment("_card.html", **card_values(page, view, output_id))


def card_values(page: Page, view: QueueView, output_id: int) -> dict[str, Any]:
    """The values of the card's template."""
    parameters = page.request.query_params
    output = read_output(page.database, output_id)
    blind = is_blind(output)
    can_cover = covers(page, output.top_score, output.safety)
    covered = can_cover and parameters.get("reveal") != "1"
    full = parameters.get("full") == "1"
    words = None if blind else read_words(page.database, output_id)
    bars = [ScoreBar(label, score, output.thresholds.get(label, DEFAULT_THRESHOLD))
            for label, score in sorted(output.scores.items(), key=lambda pair: -pair[1])]  # fmt: skip
    carried = [] if covered else carriers(words)
    reasons = () if blind else output.reasons
    held_by = held_by_colleague(page, output)
    return {
        "output": output,
        "view": view,
        "covered": covered,
        # The original may score high where the edit does not.
        "show_original": output.original_text != output.text and parameters.get("reveal") == "1",
        "can_cover": can_cover,
        "seen": Seen.COVERED if covered else Seen.REVEALED if can_cover else Seen.SHOWN,
        "held_by": held_by,
        "blind": blind,
        "decidable": held_by is None and output.safety is not Safety.WAITING,
        "approvable": not output.edited or bool(output.scores) or output.job_safety == NO_SAFETY,
        "decided_by": None if output.decided_by == page.reviewer else output.decided_by,
        "seen_words": SEEN_WORDS,
        "full": full,
        "fingerprint": fingerprint(output, words, held_by),
        "prompt": _highlighted(output.prompt, view, full),
        "sent": _highlighted(output.sent or "", view, full),
        "custom_id": _highlighted((output.custom_id or "")[:SHOWN_CUSTOM_ID], view, full),
        "metadata": _metadata(output.metadata, view),
        "text": "" if covered else _text(output, reasons, view, carried, full),
        "listed": [reason.removeprefix(BLOCKLIST) for reason in reasons if reason.startswith(BLOCKLIST)],
        "copied": output.copied_tokens if (output.copied_tokens or 0) >= LONG_RUN else None,
        "longer": max(len(output.text), len(output.prompt), len(output.sent or "")) > SHOWN_CHARACTERS and not full,
        "bars": bars,
        "deciding": [] if covered or blind else deciding_sentences(output, bars),
        "words": words,
        "top_words": top_words(carried, output.text),
        "floor": FLOOR,
        "settings": _settings(output.settings),
        "decided": output.state in DECIDED_STATES,
        "covers": lambda sibling: covers(page, sibling.top_score, sibling.safety),
        "key": secrets.token_urlsafe(16),
        "undo_key": secrets.token_urlsafe(16),
    }  # fmt: skip


def deciding_sentences(output: OutputDetail, bars: Sequence[ScoreBar]) -> list[DecidingSentence]:
    """The sentences from which the text has the scores that flag it, or else its highest; the highest first."""
    shown = [bar for bar in bars if bar.over] or bars[:1]
    by_span: dict[tuple[int, int], list[ScoreBar]] = {}
    for bar in shown:
        if span := output.deciding.get(bar.label):
            by_span.setdefault(span, []).append(bar)
    return [DecidingSentence(output.text[start:end], tuple(bars)) for (start, end), bars in by_span.items()]


def is_blind(output: OutputDetail) -> bool:
    """Whether an output is being audited: who knows what the classifier said judges the classifier by itself."""
    return output.claim is not None and output.claim.drawn and output.state not in DECIDED_STATES


def held_by_colleague(page: Page, output: OutputDetail) -> str | None:
    """The colleague who has an output open."""
    return output.claim.reviewer if output.claim and output.claim.reviewer != page.reviewer else None


def fingerprint(output: OutputDetail, words: MarkedWords | None, held_by: str | None) -> str:
    """The parts of an output that may change while its card is open, as one string to compare."""
    edit = output.edit and (output.edit.status, output.edit.served)
    marks = words and (words.status, words.served)
    return orjson.dumps((output.version, output.state, edit, marks, held_by)).decode()


def _text(
    output: OutputDetail, reasons: Sequence[str], view: QueueView, carried: Sequence[Carrier], full: bool
) -> Markup:
    """The text with its marks: those of the blocklist always, then words that carry a score, or else search hits."""
    shown = output.text if full else output.text[:SHOWN_CHARACTERS]
    lower = score_marks(carried) or [Mark(*hit, "hit") for hit in _hits(shown, view)]
    return marked_for(shown, laid_over(listed_marks(shown, reasons), lower))


def _hits(text: str, view: QueueView) -> Sequence[tuple[int, int]]:
    return read_query(view.filter.query).hits(text) if view.filter.query else ()


def _highlighted(text: str, view: QueueView, full: bool) -> Markup:
    shown = text if full else text[:SHOWN_CHARACTERS]
    return marked(shown, _hits(shown, view))


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """One entry of a prompt's metadata, as shown."""

    name: Markup
    value: Markup
    found: bool  # by the view's query


def _metadata(metadata: Mapping[str, Any], view: QueueView) -> list[MetadataRow]:
    """The first entries, and those that the view's query finds."""
    query = read_query(view.filter.query) if view.filter.query else None
    rows = []
    for place, (name, value) in enumerate(metadata.items()):
        shown = plain_value(value)[:SHOWN_VALUE]
        of_name, of_value = (query.hits(name[:SHOWN_NAME]), query.hits(shown)) if query else ((), ())
        if place < SHOWN_METADATA or of_name or of_value:
            rows.append(
                MetadataRow(marked(name[:SHOWN_NAME], of_name), marked(shown, of_value), bool(of_name or of_value))
            )
    return rows


def _settings(settings: SamplingSettings) -> list[tuple[str, object]]:
    """The settings that differ from the defaults, and always the main sampling ones."""
    defaults = SamplingSettings().to_dict()
    used = settings.to_dict()
    shown = {"temperature", "top_k", "top_p", "max_new_tokens"}
    shown |= {name for name, value in used.items() if value != defaults[name]} - {"seed"}
    return [(name, value) for name, value in used.items() if name in shown]
