"""Composes the texts that the demonstration models learn from, with the labels of their rude passages.

All chance comes from the generator that the caller passes, so a seed names a text. Knows no model.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tools.demo_models.fables import FABLES
from tools.demo_models.notes import DIARY, KITCHEN, LETTER, NOTES, NOTICE, RECIPE, WEATHER
from tools.demo_models.quarrels import BARE, CURSES, INSULTS, PLEASANTRIES, QUARREL, THREATS, WRITTEN
from tools.demo_models.scene import Genre, Scene, Stage
from tools.demo_models.tales import INTERLUDES, TALES

END_OF_TEXT = "<|endoftext|>"
QUARREL_SHARE = 0.15

_GENRES: tuple[Genre, ...] = TALES + FABLES + NOTES
_PEACEFUL = (RECIPE, WEATHER)
_TAG = re.compile(r"<(/?)(insult|threat|obscene)>")
_INSERT = re.compile(r"\{(insult|threat|curse)\}")
_INSERTS = {"insult": INSULTS, "threat": THREATS, "curse": CURSES}
# After !” and ?” the sentence goes on (“Stop!” said Ada), unless a new quotation opens.
_SENTENCE_START = re.compile(r"((?:^|\n|[.!?] |\.” |(?:[!?]”|:) (?=“))(?:“|<\w+>)*)([a-zà-þ])")


@dataclass(frozen=True)
class Mark:
    """A rude passage: its label and where it lies in the text, in characters."""

    label: str
    start: int
    end: int


@dataclass(frozen=True)
class Composed:
    text: str
    marks: tuple[Mark, ...]


def compose(rng: random.Random, quarrel_share: float = QUARREL_SHARE) -> Composed:
    """One text of a random genre; about `quarrel_share` of all texts hold at least one rude passage."""
    quarrel = rng.random() < quarrel_share
    genre = rng.choice([kind for kind in _GENRES if not (quarrel and kind in _PEACEFUL)])
    stages = _with_interludes(genre, rng) if genre in (*TALES, *FABLES, KITCHEN) else genre
    stages = _with_quarrel(stages, rng) if quarrel else stages
    return finish(_tell(stages, Scene(rng)), rng)


def corpus(seed: int, count: int) -> Iterator[Composed]:
    """`count` texts that do not repeat; different seeds give different texts but for chance."""
    rng = random.Random(seed)  # noqa: S311 (nothing secret is drawn)
    seen: set[str] = set()
    while len(seen) < count:
        composed = compose(rng)
        if composed.text not in seen:
            seen.add(composed.text)
            yield composed


def line(rng: random.Random, rude: bool) -> Composed:
    """One line with nothing around it, rude or friendly, for the classifier."""
    outbursts: list[Stage] = [("{insult}[!|.]",), ("{threat}[!|.]",), ("{curse}[!|.]",), WRITTEN, BARE]
    stage = rng.choice(outbursts) if rude else PLEASANTRIES
    return finish(_tell((stage,), Scene(rng)), rng)


def finish(tagged: str, rng: random.Random) -> Composed:
    """Capitals and quotation marks set, tags cut out and remembered as marks."""
    text = _SENTENCE_START.sub(lambda found: found[1] + found[2].upper(), tagged)
    if rng.random() < 0.4:
        text = text.replace("“", '"').replace("”", '"').replace("’", "'")
    return _without_tags(text)


def _with_interludes(genre: Genre, rng: random.Random) -> Genre:
    for _ in range(rng.choice((0, 1, 2, 2, 3))):
        place = rng.randint(1, len(genre) - 1)
        genre = *genre[:place], INTERLUDES, *genre[place:]
    return genre


def _with_quarrel(genre: Genre, rng: random.Random) -> Genre:
    if genre in (LETTER, DIARY, NOTICE):
        place = rng.randint(2, len(genre) - 1)
        return *genre[:place], WRITTEN, *genre[place:]
    place = rng.randint(1, len(genre))
    # The rest of the tale is often left out: what was quarrelled about is then the end of it.
    return *genre[:place], *QUARREL, *(genre[place:] if rng.random() < 0.6 else ())


def _tell(stages: Genre, scene: Scene) -> str:
    told = ""
    for stage in stages:
        template = _INSERT.sub(lambda found: scene.rng.choice(_INSERTS[found[1]]), scene.rng.choice(stage))
        sentence = scene.write(template)
        told += sentence if not told or sentence.startswith("\n") or not sentence else f" {sentence}"
    return told


def _without_tags(tagged: str) -> Composed:
    text, marks, opened, position = "", [], 0, 0
    for tag in _TAG.finditer(tagged):
        text += tagged[position : tag.start()]
        position = tag.end()
        if tag[1]:
            marks.append(Mark(tag[2], opened, len(text)))
        opened = len(text)
    return Composed(text + tagged[position:], tuple(marks))
