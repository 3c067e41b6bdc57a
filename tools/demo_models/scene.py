"""One text's memory: fills the slots of a template and recalls what was named before.

Knows templates and words, not genres: what is told, and in which order, is grammar.py's.
"""

import random
import re
import string

from tools.demo_models.words import FRESH, SLOTS, Person

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_IRREGULAR = {"goose": "geese", "sheep": "sheep", "bay leaf": "bay leaves"}

#: A stage is a tuple of templates of which one is written; a genre is a tuple of stages.
Stage = tuple[str, ...]
Genre = tuple[Stage, ...]


class Word(str):
    """A drawn word; `{thing:a}` sets its article before it, `{animal:s}` makes it plural."""

    def __format__(self, spec: str) -> str:
        if spec == "a":
            return f"{_article(self)} {self}"
        return _plural(self) if spec == "s" else str(self)


class Scene(dict[str, Word | Person]):
    """A slot keeps its first value for the whole text; `any_` before its name draws a fresh one.

    Slots in FRESH are always drawn anew. A digit after the name tells slots of one kind apart:
    `{thing}` and `{thing2}` are never the same thing.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng

    def __missing__(self, slot: str) -> Word | Person:
        value = self._draw(slot.removeprefix("any_").rstrip("0123456789"))
        if slot not in FRESH and not slot.startswith("any_"):
            self[slot] = value
        return value

    def _draw(self, kind: str) -> Word | Person:
        taken = set(self.values())
        value = self.rng.choice([word for word in SLOTS[kind] if word not in taken] or SLOTS[kind])
        return value if isinstance(value, Person) else Word(value)

    def write(self, template: str) -> str:
        """The template with every `[a|b]` decided, innermost first, and every `{slot}` filled."""
        while "[" in template:
            template = _CHOICE.sub(self._choose, template)
        return string.Formatter().vformat(template, (), self)

    def _choose(self, found: re.Match[str]) -> str:
        options: list[str] = found[1].split("|")
        return self.rng.choice(options)


def _article(word: str) -> str:
    vowel = word[0].lower() in "aeioué" and not word.startswith(("use", "uni"))
    return "an" if vowel or word.startswith(("hour", "honest")) else "a"


def _plural(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "ch", "sh", "potato")):
        return word + "es"
    return word + "s"
