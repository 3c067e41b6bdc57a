"""The blocklist: folding, word boundaries, scripts without spaces, and the file a user writes."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.blocklist import Blocklist, fold, is_searchable, read_blocklist
from contract.errors import UsageError
from tests.examples import examples

SPACELESS_SAMPLES = "猫犬ばカไลຂខမ"
LETTERS = "aAbBßẞİıſKéeǅΣςσ"
ALPHABET = LETTERS + "_19'’-. \t\u00a0\u200b\u00ad\u0301\ufe0f☠🖕ａﬁ가" + SPACELESS_SAMPLES

texts = st.text(alphabet=ALPHABET, max_size=30)
entries = st.lists(st.text(alphabet=ALPHABET, min_size=1, max_size=5), max_size=6)


def reference_find(words: list[str], text: str) -> list[str]:
    """Every entry at every place, with the boundary rule spelled out once more and no automaton."""
    folded = fold(text)
    # One string per character with its marks: no match may begin or end inside one.
    clusters: list[str] = []
    for character in folded:
        if clusters and clusters[-1] != " " and unicodedata.category(character).startswith("M"):
            clusters[-1] += character
        else:
            clusters.append(character)

    def wordlike(cluster: str) -> bool:
        head = cluster[0]
        return (head.isalnum() or head == "_") and head not in SPACELESS_SAMPLES

    def occurs(entry: str) -> bool:
        for first in range(len(clusters)):
            for last in range(first + 1, len(clusters) + 1):
                if "".join(clusters[first:last]) != entry:
                    continue
                inside_before = first > 0 and wordlike(clusters[first - 1]) and wordlike(clusters[first])
                inside_after = last < len(clusters) and wordlike(clusters[last - 1]) and wordlike(clusters[last])
                if not inside_before and not inside_after:
                    return True
        return False

    return [word for word in dict.fromkeys(words) if is_searchable(word) and occurs(fold(word))]


@examples(400)
@given(entries, texts)
def test_the_automaton_finds_what_a_plain_search_at_every_place_finds(words: list[str], text: str) -> None:
    assert Blocklist(words).find(text) == reference_find(words, text)


@examples(200)
@given(entries, texts, st.integers(0, 5))
def test_an_entry_set_between_spaces_is_always_found(words: list[str], text: str, pick: int) -> None:
    searchable = [word for word in words if is_searchable(word)]
    if searchable:
        word = searchable[pick % len(searchable)]
        assert word in Blocklist(words).find(f"{text} . {word} . {text}")


@examples(200)
@given(st.text(max_size=20), st.text(max_size=40))
def test_no_text_and_no_entry_is_too_odd(word: str, text: str) -> None:
    assert Blocklist([word]).find(text) in ([], [word])


@examples(200)
@given(st.text(alphabet=ALPHABET, max_size=20))
def test_upper_case_lower_case_and_every_normal_form_fold_alike(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert fold(unicodedata.normalize(form, text)) == fold(text)
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("fool", "You FOOL!"),
        ("STRASSE", "Die straße"),
        ("straße", "DIE STRASSE."),
        ("İstanbul", "i̇stanbul"),
        ("ὈΔΥΣΣΕΎΣ", "ὀδυσσεύς"),
        ("café", "un cafe\u0301 noir"),
        ("file", "a ﬁle"),
        ("fool", "ｆｏｏｌ"),
        ("fool", "a foo\u00adl"),
        ("don't", "I don’t"),
        ("fool", "the fool's"),
        ("big fat fool", "a big  fat\n\u00a0fool"),
        ("c++", "I write c++17"),
        ("🖕", "so🖕there"),
        ("❤", "I ❤\ufe0f you"),
        ("fool", "☠\ufe0ffool"),
        ("fool", "*\u20e3fool"),
        ("馬鹿", "君は馬鹿だ"),
        ("fool", "君はfoolだ"),
        ("ไอ้บ้า", "มึงไอ้บ้าเอ๊ย"),
        ("バカ", "オオバカモノ"),
        ("ﾊﾞｶ", "オオバカモノ"),
    ],
)
def test_an_entry_is_found_however_it_is_written(word: str, text: str) -> None:
    assert Blocklist([word]).find(text) == [word]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("ass", "a class assembled"),
        ("ass", "ass_hat"),
        ("ass", "ass1"),
        ("cafe", "café"),
        ("x", "x\u0302"),
        ("fool", ""),
        ("big fool", "big, fool"),
        ("か", "が"),
        ("c++", "abc++"),
        ("욕", "욕설"),
    ],
)
def test_a_part_of_a_word_is_no_word(word: str, text: str) -> None:
    assert Blocklist([word]).find(text) == []


@pytest.mark.parametrize(
    ("entry", "found", "passed"),
    [
        ("toad*", ["toads", "A TOAD.", "toadstool", "toad", "toad_1"], ["atoad", "toa d", "toa"]),
        ("big fool*", ["big  fools", "a BIG FOOLISH man"], ["bigger fool", "big foo"]),
        ("caf*", ["café", "cafe"], ["decaf"]),
        ("x*", ["xy"], ["x\u0302"]),
        ("馬*", ["君は馬鹿だ"], []),
        ("c++*", ["c++17"], ["abc++"]),
        ("toad＊", ["toads"], []),
        ("f*ck", ["f*ck!"], ["fack", "f*cks"]),
    ],
)
def test_a_star_at_the_end_finds_what_begins_so(entry: str, found: list[str], passed: list[str]) -> None:
    for text in found:
        assert Blocklist([entry]).find(text) == [entry], text
    for text in passed:
        assert Blocklist([entry]).find(text) == [], text


def test_a_word_and_what_begins_so_are_told_apart() -> None:
    assert Blocklist(["toad", "toad*"]).find("toads") == ["toad*"]
    assert Blocklist(["toad", "toad*"]).find("toad") == ["toad", "toad*"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"toad"', "is in quotes"),
        ("“big fool”,", "is in quotes"),
        ("'toad'", "is in quotes"),
        ("«crapaud»", "is in quotes"),
        ("`toad`", "is in quotes"),
        ("/toads?/", "regular expression"),
        ("/toad/i", "regular expression"),
        (r"\btoad\b", "regular expression"),
        ("toad.*", "regular expression"),
        ("^toad$", "regular expression"),
        ("toad # an animal", "comment"),
        ("toad\t#animal", "comment"),
        ("toad // an animal", "comment"),
        ("*toad", r"only one at the end does, as in toad\*"),
        ("*toad*", "only one at the end"),
        ("toad**", "only one at the end"),
    ],
)
def test_a_line_that_was_not_meant_as_it_stands_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(f"# mine\nfrog\n{line}\n")
    with pytest.raises(UsageError, match=rf"words\.txt, line 3: .* {said}"):
        read_blocklist(path)


def test_what_merely_resembles_such_a_line_is_taken(tmp_path: Path) -> None:
    entries = ("and/or", "a$$", "C#", "rock 'n' roll", "'tis", '5" nails', "f*ck", "toad*", "http://x.example", "n/a")
    path = tmp_path / "words.txt"
    path.write_text("\n".join(entries))
    assert read_blocklist(path) == entries


def test_entries_come_back_once_each_in_the_order_of_the_list() -> None:
    blocklist = Blocklist(["fool", "big fool", "Idiot", "fool", "idiot"])
    assert blocklist.find("idiot! big fool, fool, fool") == ["fool", "big fool", "Idiot", "idiot"]


def test_an_empty_list_and_a_list_of_punctuation_find_nothing() -> None:
    assert Blocklist([]).find("anything at all") == []
    assert Blocklist(["", " ", "...", "_"]).find("anything... _ at all") == []


def test_a_file_is_read_without_comments_blanks_and_doubles(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeff# mine\r\nFool \r\n\r\n  big  fool\rstraße\nfool\nSTRASSE\n\u2028 #x\n馬鹿".encode())
    assert read_blocklist(path) == ("Fool", "big  fool", "straße", "馬鹿")
    assert Blocklist(read_blocklist(path)).find("A BIG FOOL") == ["Fool", "big  fool"]


def test_an_empty_file_is_an_empty_blocklist(tmp_path: Path) -> None:
    (tmp_path / "words.txt").touch()
    assert read_blocklist(tmp_path / "words.txt") == ()


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"one\r\ntwo\r\nna\xefve\r\n", 3), ("one\ntwo".encode("utf-16"), 1), (b"one\n...\n", 2), (b"\n\n_\n", 3)],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"words\.txt, line {line}: "):
        read_blocklist(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt: .*No such file.*--blocklist"):
        read_blocklist(tmp_path / "nowhere.txt")
    with pytest.raises(UsageError, match="directory"):
        read_blocklist(tmp_path)


def test_the_producer_can_read_a_blocklist_without_torch_or_sql() -> None:
    code = "import sys, contract.blocklist; sys.exit(any(m in sys.modules for m in ('torch', 'sqlalchemy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@examples(300)
@given(entries, texts)
def test_entries_that_are_found_have_a_place_that_reads_like_them(words: list[str], text: str) -> None:
    blocklist = Blocklist(words)
    places = blocklist.places(text)
    for start, end, word in places:
        assert 0 <= start < end <= len(text)
        assert fold(word).removesuffix("*") in fold(text[start:end])
    if " \u0301" not in fold(text):  # a mark without a letter
        assert {word for _, _, word in places} == set(blocklist.find(text))


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        (["toad*"], "The Toadstool's toad.", ["Toadstool", "toad"]),
        (["strasse", "cafe\u0301"], "In der Straße: Café!", ["Straße", "Café"]),
        (["two words"], "two\u00a0\n words, t\u00adwo wo\u200brds", ["two\u00a0\n words", "t\u00adwo wo\u200brds"]),
        (["c++", "猫"], "C++ oder 黒猫です", ["C++", "猫"]),
        (["fool"], "foolish", []),
        ([], "fool", []),
    ],
)
def test_a_place_is_that_of_the_text_as_it_is_written(words: list[str], text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end, _ in Blocklist(words).places(text)] == found
