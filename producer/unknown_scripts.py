"""Prompts in scripts that a classifier was not trained on: counted while a file is read, and what to tell of them.

Goes by letters alone: languages that share a script are not told apart, and a few foreign letters in a prompt are fine.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from contract.policy import KNOWN_LANGUAGES, KNOWN_SCRIPTS, MULTILINGUAL

LOOKED_AT = 60
"""Characters of a prompt: its beginning tells its script."""
SHOWN_SCRIPTS = 3
LATIN = "Latin"

_SCRIPT = re.compile(r"(.+?) (?:LETTER|SYLLAB|CAPITAL|SMALL|VOWEL|CHARACTER|LIGATURE)")
_CALLED = {
    "CJK": "Chinese characters",
    "HIRAGANA": "Japanese kana",
    "KATAKANA": "Japanese kana",
    "KATAKANA-HIRAGANA": "Japanese kana",
}


@dataclass(slots=True)
class ScriptCounts:
    """How many prompts are mostly in each script other than Latin, and the line of the first."""

    prompts: Counter[str] = field(default_factory=Counter)
    first_lines: dict[str, int] = field(default_factory=dict)

    def look(self, prompt: str, line: int) -> None:
        """Counts a prompt."""
        if prompt.isascii():
            return
        letters = Counter(map(script_of, filter(str.isalpha, prompt[:LOOKED_AT])))
        latin = letters.pop(LATIN, 0)
        if letters and letters.total() > latin:
            ((script, _),) = letters.most_common(1)
            self.prompts[script] += 1
            self.first_lines.setdefault(script, line)

    def remarks(self, classifier: str) -> list[str]:
        """What the user should know where a built-in classifier does not know the scripts of some prompts.

        Args:
            classifier: its name; of any other than a built-in one nothing is known, and nothing said.
        """
        known = KNOWN_SCRIPTS.get(classifier)
        unknown = [script for script, _ in self.prompts.most_common() if known and script not in known]
        if not unknown:
            return []
        return [
            f"{self._counted(unknown, classifier)}: it knows {KNOWN_LANGUAGES[classifier]}, and its scores of anything "
            f"else mean little; {_way_out(classifier, unknown)}"
        ]

    def _counted(self, scripts: list[str], classifier: str) -> str:
        shown = [
            f"{self.prompts[script]:,} in {script} (line {self.first_lines[script]:,}"
            f"{'' if self.prompts[script] == 1 else ' first'})"
            for script in scripts[:SHOWN_SCRIPTS]
        ]
        others = sum(self.prompts[script] for script in scripts[SHOWN_SCRIPTS:])
        shown += [f"{others:,} in other scripts"] if others else []
        count = sum(self.prompts[script] for script in scripts)
        prompts = "1 prompt is" if count == 1 else f"{count:,} prompts are"
        return f"{prompts} in a script that {classifier} does not know, {', '.join(shown)}"


def _way_out(classifier: str, unknown: list[str]) -> str:
    helped = [script for script in unknown if script in KNOWN_SCRIPTS[MULTILINGUAL]]
    if helped and classifier != MULTILINGUAL:
        rest = "" if len(helped) == len(unknown) else ", and of the rest none does"
        return f"--safety {MULTILINGUAL} knows Russian{rest}"
    return "no built-in classifier does: read samples yourself, or give a checkpoint that knows it (--safety PATH)"


@lru_cache(maxsize=4096)
def script_of(letter: str) -> str:
    """What the script of a letter is called, by its Unicode name."""
    plain = unicodedata.normalize("NFKC", letter)[0]  # full width, mathematical and the like are variants
    name = unicodedata.name(plain, "unnamed letter")
    match = _SCRIPT.match(name)
    script = match[1] if match else name.split(" ")[0]
    return _CALLED.get(script.split(" ")[0], script.title())
