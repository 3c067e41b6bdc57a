"""What is written token by token is what decoding all of them gives, whatever the tokenizer."""

from __future__ import annotations

import random

import pytest
from expected_texts import behind, expected_text
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import JOINING, made_vocabulary

from tests.examples import examples
from worker.engine.text.decoded import DecodedText
from worker.engine.text.written import WrittenText
from worker.engine.tokenizer import Vocabulary


@pytest.fixture(scope="module", params=JOINING)
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return made_vocabulary(request.param, tmp_path_factory.mktemp("tokenizer"))


def drawn(vocabulary: Vocabulary, seed: int, count: int) -> list[int]:
    """Tokens of all kinds: any, such as stand for a byte, special ones, and ids without a token."""
    chance, pieces, size = random.Random(seed), vocabulary.pieces, len(vocabulary.tokenizer)
    ordinary = range(size)
    single = [token for token in ordinary if len(pieces.piece(token)) == 1] or ordinary
    special = [*vocabulary.tokenizer.all_special_ids, size + 1]
    kinds = [ordinary, single, single, single, special] if seed % 3 else [ordinary, ordinary, special]
    return [chance.choice(chance.choice(kinds)) for _ in range(count)]


def another(vocabulary: Vocabulary) -> list[int]:
    """A token that writes the same wherever it stands, or nearly."""
    return [next(token for token in range(200) if vocabulary.pieces.piece(token).strip() in (b"a", b"t", b"the"))]


@examples(100)
@given(st.integers(0, 2**32), st.sampled_from(["", "the mill", "x"]))
def test_a_text_is_at_every_token_what_decoding_gives(vocabulary: Vocabulary, seed: int, words: str) -> None:
    prompt = vocabulary.tokens(words)
    if prompt and vocabulary.pieces.is_single_byte(prompt[-1]):
        prompt = [*prompt, *another(vocabulary)]  # a prompt's bytes are none of the text's
    text, tokens = vocabulary.begin_text(prompt), []
    assert isinstance(text, WrittenText)
    for token in drawn(vocabulary, seed, 14):
        tokens.append(token)
        length = len(text)
        before = text[0:length]
        changed = text.append(token)
        assert text[0:changed] == before[:changed]
        names = list(map(vocabulary.shown, tokens))
        assert text.finished() == expected_text(vocabulary, prompt, tokens), names


def test_pieces_are_what_tokens_write(vocabulary: Vocabulary) -> None:
    tokens = (token for token in range(len(vocabulary.tokenizer)) if not vocabulary.pieces.is_single_byte(token))
    for token in tokens:
        piece = vocabulary.pieces.piece(token)
        assert piece.decode("utf-8", "replace") == behind(vocabulary, another(vocabulary), [token])


def test_special_tokens_write_nothing(vocabulary: Vocabulary) -> None:
    text = vocabulary.begin_text([])
    for token in vocabulary.tokenizer.all_special_ids:
        assert vocabulary.pieces.piece(token) == b""
        text.append(token)
    assert text.finished() == ""


@pytest.fixture(scope="module")
def word_ends(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return made_vocabulary("word-ends", tmp_path_factory.mktemp("tokenizer"))


def test_where_a_token_writes_something_else_beside_others_all_are_decoded_again(word_ends: Vocabulary) -> None:
    chance, prompt = random.Random(0), word_ends.encode("the mill")
    for _ in range(20):
        text, tokens = word_ends.begin_text(prompt), list[int]()
        assert isinstance(text, DecodedText)
        for _ in range(12):
            tokens.append(chance.randrange(len(word_ends.tokenizer)))
            text.append(tokens[-1])
            assert text.finished() == behind(word_ends, prompt, tokens)


def test_bad_words_are_refused_where_what_a_token_writes_cannot_be_stated(word_ends: Vocabulary) -> None:
    with pytest.raises(ValueError, match="bad_words cannot be kept with this model"):
        _ = word_ends.pieces


def test_berts_tokenizer_puts_no_spaces_between_chinese_characters(tmp_path_factory: pytest.TempPathFactory) -> None:
    vocabulary = made_vocabulary("wordpiece", tmp_path_factory.mktemp("tokenizer"))
    text = vocabulary.begin_text(vocabulary.encode("the"))
    for token in vocabulary.tokens("the mill 你好吗 do not 東京"):
        text.append(token)
    assert text.finished() == " the mill你好吗 do not東京"
