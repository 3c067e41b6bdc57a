"""The keyword blocklist: the file a user writes, and which of its entries occur in a text.

Text in, entries out. What a hit leads to is the flag policy's business; neither torch nor SQL is needed.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import ahocorasick

from common.word_characters import is_mark, is_word_character
from contract.errors import UsageError

PREFIX = "*"
"""At an entry's end: longer words that begin so are found, too."""
_NEVER_FOUND = (
    (r"[\"'“”„‟‘’‚«»‹›`].*[\"'“”„‟‘’‚«»‹›`][,;]?", "is in quotes, which few texts have there; write it without"),
    (r"/.+/[gimsuxy]*|.*\\[bBdDsSwW].*|.*\.[*+].*|\^.*\$", "looks like a regular expression; a blocklist has words and"
     " phrases, and toad* for words that begin with toad"),
    (r".*\s(#|//\s|//$).*", "has a comment behind it; put that on a line of its own, which begins with #"),
    (r"\*.*|.*\*\*", "has a * that stands for nothing; only one at the end does, as in toad*"),
)  # fmt: skip
"""Lines that look like something else and could hardly be found in a text, and what to say of them."""


class Blocklist:
    """Finds a list's entries in texts, each as a whole word or phrase; "toad*" finds what begins with "toad".

    Entry and text are folded alike before they are compared (Unicode 3.13, compatibility caseless matching: NFKC
    and full case folding), so that "STRASSE" finds "straße" and full-width letters hide nothing. Accents count:
    "cafe" does not find "café". Invisible format characters (soft hyphen, zero-width space, variation selectors)
    are dropped, and a run of white space equals one space.

    Word characters are letters, digits and the underscore, with the marks on them. An apostrophe is none: "fool"
    is found in "fool's", and "don't", typographic or plain, is an entry like any other. An entry whose edge is no
    word character ("c++") asks for no boundary there; nor does one in a script that writes no spaces (Han, Hiragana,
    Katakana, Thai, Lao, Khmer, Myanmar), which is found inside longer runs, and ends a word of another script.
    """

    def __init__(self, words: Iterable[str]) -> None:
        """Take the entries in the user's order; those that `is_searchable` refuses are passed over."""
        self._words = [word for word in dict.fromkeys(words) if is_searchable(word)]
        by_folded: dict[str, list[tuple[int, bool]]] = {}
        for index, word in enumerate(self._words):
            folded = fold(word)
            by_folded.setdefault(folded.removesuffix(PREFIX), []).append((index, folded.endswith(PREFIX)))
        self._automaton = ahocorasick.Automaton()
        for folded, entries in by_folded.items():
            self._automaton.add_word(folded, (len(folded), entries))
        if by_folded:
            self._automaton.make_automaton()

    def find(self, text: str) -> list[str]:
        """The distinct entries that occur in `text`, as the user wrote them, in the order of the list."""
        if not self._words:
            return []
        indices = {index for _, _, index in self._hits(fold(text))}
        return [self._words[index] for index in sorted(indices)]

    def places(self, text: str) -> list[tuple[int, int, str]]:
        """Where entries stand in `text`: (start, end) of its characters, and the entry. Of "toad*" the whole word."""
        if not self._words:
            return []
        folded, origins = _fold_with_places(text)
        found = []
        for start, end, index in self._hits(folded):
            word = self._words[index]
            last = _word_end(folded, end) if word.endswith(PREFIX) else end
            found.append((origins[start][0], origins[last - 1][1], word))
        return found

    def _hits(self, folded: str) -> Iterator[tuple[int, int, int]]:
        """(start, end) in the folded text and the number of the entry."""
        for last, (length, entries) in self._automaton.iter(folded):
            start, end = last + 1 - length, last + 1
            if _is_boundary(folded, start):
                over, goes_on = _is_boundary(folded, end), not _has_mark(folded, end)
                yield from ((start, end, index) for index, is_prefix in entries if over or (is_prefix and goes_on))


@lru_cache(maxsize=1)
def compiled_blocklist(words: tuple[str, ...]) -> Blocklist:
    """The list, ready to search with. The last one is kept: a million words take a dozen seconds."""
    return Blocklist(words)


def blocklist_digest(words: Sequence[str]) -> str:
    """Tells one list from another; empty for an empty list."""
    return hashlib.sha256("\0".join(words).encode(errors="surrogatepass")).hexdigest() if words else ""


def read_blocklist(path: str | Path) -> tuple[str, ...]:
    """The entries of a blocklist file: UTF-8, one a line; blank lines and lines that begin with `#` are skipped.

    White space around an entry is dropped, and so is an entry that means the same as an earlier one.

    Raises:
        UsageError: a file that cannot be read or is not UTF-8, or an entry that could never be found, or was not meant
            as it stands; with the line.
    """
    entries: dict[str, str] = {}
    for number, line in _lines(Path(path)):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if not is_searchable(entry):
            raise UsageError(
                f"{path}, line {number}: {entry!r} contains only punctuation; write a word, a phrase or a symbol, "
                "or begin the line with # to skip it"
            )
        for pattern, why in _NEVER_FOUND:
            if re.fullmatch(pattern, entry, re.DOTALL):
                raise UsageError(f"{path}, line {number}: {entry!r} {why}")
        entries.setdefault(fold(entry), entry)
    return tuple(entries.values())


def is_searchable(entry: str) -> bool:
    """Whether `entry` holds a letter, a digit or a symbol: with punctuation alone, every text would be flagged."""
    return any(unicodedata.category(character)[0] in "LNS" for character in fold(entry))


def fold(text: str) -> str:
    """The form in which entries and texts are compared.

    Folding may lengthen a text ("ß" becomes "ss", "İ" two characters): a place in it says nothing about a place in
    the original; `_fold_with_places` says where each character comes from.
    """
    caseless = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold()).casefold()
    return " ".join(unicodedata.normalize("NFKC", caseless.translate(_VISIBLE)).split())


def _fold_with_places(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text folded a character with its marks at a time, and (start, end) of what each folded one comes from.

    Equals `fold` but for what only combines across characters, such as single parts of Hangul syllables.
    """
    folded: list[str] = []
    origins: list[tuple[int, int]] = []
    for start, end in _units(text):
        space = text[start].isspace() and folded[-1:] not in ([], [" "])
        unit = (" " if space else "") + fold(text[start:end])
        folded += unit
        origins += [(start, end)] * len(unit)
    return "".join(folded), origins


def _units(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or not (is_mark(text[place]) or unicodedata.category(text[place]) == "Cf"):
            yield start, place
            start = place


class _Visible(dict[int, str | int | None]):
    """What `str.translate` makes of a character: nothing of an invisible one, one apostrophe of all.

    Fills itself, with characters of the first plane alone: there are a million others, and texts may hold any.
    """

    def __missing__(self, code: int) -> str | int | None:
        character = chr(code)
        kept: str | int | None = code
        if character in "\u2018\u2019\u02bc":
            kept = "'"
        elif unicodedata.category(character) == "Cf" or "VARIATION SELECTOR" in unicodedata.name(character, ""):
            kept = None
        if code < 1 << 16:
            self[code] = kept
        return kept


_VISIBLE = _Visible()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: the blocklist cannot be read ({reason}); check --blocklist") from error
    # bytes.splitlines knows the line breaks of text files only; str.splitlines would also cut at U+2028.
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{path}, line {number}: not UTF-8 (byte 0x{line[error.start]:02x} at byte {error.start + 1} "
                "of the line); save the file as UTF-8"
            ) from error


def _is_boundary(folded: str, place: int) -> bool:
    """Whether a word may begin or end between `folded[place - 1]` and `folded[place]`."""
    if place in (0, len(folded)):
        return True
    if _has_mark(folded, place):  # a mark is never cut off what it sits on
        return folded[place - 1] == " "
    return not (is_word_character(_base(folded, place - 1)) and is_word_character(folded[place]))


def _word_end(folded: str, place: int) -> int:
    """Where the word ends that goes on at `place`."""
    while not _is_boundary(folded, place):
        place += 1
    return place


def _has_mark(folded: str, place: int) -> bool:
    return place < len(folded) and is_mark(folded[place])


def _base(folded: str, place: int) -> str:
    """The character at `place`, or the one that the marks there sit on."""
    while place > 0 and is_mark(folded[place]):
        place -= 1
    return folded[place]
