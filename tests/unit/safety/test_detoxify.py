"""Scoring: the same numbers as the model itself, whatever the length of a text and whoever stands beside it."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import InkmillError, ModelUnavailable
from contract.policy import LABELS
from tests.examples import examples
from worker.processor import has_bfloat16
from worker.safety import detoxify
from worker.safety.detoxify import Classifier, load_classifier

POSITIONS = 32  # of the tiny classifiers
ORIGINAL = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
UNBIASED = ("toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit")
ODD = ["", " ", "\n\t", "\x00\x07", "\ufffd" * 3, "😀🏳️‍🌈", "\ud800 awful", "[PAD] <pad> </s> [SEP]", "ẞ İ ﬁ", "猫" * 50]


@pytest.fixture(scope="module")
def checkpoint(
    architecture: str, write_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp(architecture), architecture, UNBIASED)


@pytest.fixture(scope="module")
def classifier(checkpoint: Path) -> Classifier:
    return load_classifier(str(checkpoint), device="cpu")


@pytest.fixture(scope="module")
def bert(write_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(str(write_checkpoint(tmp_path_factory.mktemp("bert"), "Bert")), device="cpu")


def direct_scores(model: Any, tokens: list[int], classes: tuple[str, ...]) -> dict[str, float]:
    """One unpadded sequence through the model, without anything of ours."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
    return dict(zip(classes, torch.sigmoid(logits).tolist(), strict=False))


def close(left: dict[str, float], right: dict[str, float], tolerance: float = 1e-5) -> bool:
    return left.keys() == right.keys() and all(math.isclose(left[k], right[k], abs_tol=tolerance) for k in left)


def test_scores_are_the_sigmoid_of_the_models_own_logits(
    architecture: str, checkpoint: Path, classifier: Classifier, reference_model: Callable[..., Any]
) -> None:
    folder = checkpoint.with_suffix("")
    tokenizer = getattr(transformers, f"{architecture}Tokenizer").from_pretrained(folder)
    model = reference_model(folder, architecture, UNBIASED)
    texts = ["you are awful", "a nice cat on the mat.", "", "bad"]
    for text, scores in zip(texts, classifier.score(texts), strict=True):
        assert close(scores, direct_scores(model, tokenizer(text)["input_ids"], UNBIASED), 1e-6)
        assert set(scores) == set(LABELS)  # and none of the identity columns


def test_a_long_text_takes_the_maximum_of_overlapping_windows_that_leave_nothing_out(
    architecture: str, checkpoint: Path, classifier: Classifier, reference_model: Callable[..., Any]
) -> None:
    folder = checkpoint.with_suffix("")
    tokenizer = getattr(transformers, f"{architecture}Tokenizer").from_pretrained(folder)
    model = reference_model(folder, architecture, UNBIASED)
    text = "a nice cat on the mat. " * 250 + "you are awful! fool! " + "a nice cat on the mat. " * 250
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(tokens) > 3000
    first, last = tokenizer("")["input_ids"]
    body = POSITIONS - 2
    starts = range(0, len(tokens) - body + body // 2, body // 2)
    windows = [direct_scores(model, [first, *tokens[s : s + body], last], UNBIASED) for s in starts]
    highest = {label: max(window[label] for window in windows) for label in UNBIASED}
    assert close(classifier.score([text])[0], highest)
    assert not close(highest, windows[0], 1e-3)  # the first window alone would not have told


def test_neighbours_and_order_change_no_score(classifier: Classifier) -> None:
    texts = ["bad", "a nice cat " * 40, "", "you are awful", "fool " * 9, "you are awful"]
    alone = [classifier.score([text])[0] for text in texts]
    assert all(map(close, classifier.score(texts), alone))
    assert all(map(close, classifier.score(texts[::-1]), alone[::-1]))


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
def test_every_architecture_scores_in_bfloat16_much_as_in_float32(checkpoint: Path, classifier: Classifier) -> None:
    # These tiny networks have weights ten times as wide as real ones: test_network.py measures what is usual.
    texts = ["bad", "a nice cat " * 40, "", "you are awful", "fool " * 9]
    quick = load_classifier(str(checkpoint), device="cpu", dtype="bf16")
    assert (quick.dtype, classifier.dtype) == (torch.bfloat16, torch.float32)
    for left, right in zip(quick.score(texts), classifier.score(texts), strict=True):
        assert close(left, right, 0.05)


def test_odd_texts_are_scored_like_any_other(classifier: Classifier) -> None:
    for scores in classifier.score(ODD):
        assert all(0 <= score <= 1 for score in scores.values())
    assert classifier.score([]) == []


def test_a_hundred_thousand_characters_without_a_space_are_scored(classifier: Classifier) -> None:
    scores = classifier.score(["you", "fool" * 25_000])
    assert all(0 <= score <= 1 for score in scores[1].values())


@examples(25)
@given(texts=st.lists(st.text(max_size=60), max_size=6))
def test_any_texts_keep_their_places(bert: Classifier, texts: list[str]) -> None:
    assert all(map(close, bert.score(texts), [bert.score([text])[0] for text in texts]))


def test_a_mini_batch_stays_within_its_tokens_and_reports_itself(
    bert: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["you are awful " * n for n in range(12)]
    plain, beats = bert.score(texts), []
    monkeypatch.setitem(detoxify.BATCH_TOKENS, "cpu", POSITIONS)
    assert all(map(close, bert.score(texts, after_batch=lambda: beats.append(1)), plain))
    sizes = [len(batch.windows) * batch.length for batch in bert._batches(texts)]
    assert len(sizes) == len(beats) > 5 and max(sizes) <= POSITIONS


def test_threads_share_a_classifier(bert: Classifier) -> None:
    texts = ["you are awful " * n for n in range(30)]
    expected = bert.score(texts)
    gate = threading.Barrier(4)

    def score() -> list[dict[str, float]]:
        gate.wait(timeout=10)
        return bert.score(texts)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(score) for _ in range(4)]:
            assert all(map(close, future.result(), expected))


def test_one_text_in_place_of_a_list_is_refused(bert: Classifier) -> None:
    with pytest.raises(TypeError, match="sequence of texts"):
        bert.score("awful")


def test_a_score_that_is_no_number_never_passes_for_clean(
    tmp_path: Path, write_checkpoint: Callable[..., Path]
) -> None:
    path = write_checkpoint(tmp_path, "Bert")
    content = torch.load(path, weights_only=True)
    content["state_dict"]["classifier.bias"][0] = float("inf")
    content["state_dict"]["classifier.weight"][0] = float("-inf")
    torch.save(content, path)
    with pytest.raises(InkmillError, match="not a number"):
        load_classifier(str(path)).score(["you"])


def test_the_classes_of_the_original_checkpoint_get_their_standard_names(bert: Classifier) -> None:
    assert bert.labels == ORIGINAL


def test_half_precision_weights_are_scored_in_single_precision(
    tmp_path: Path, write_checkpoint: Callable[..., Path]
) -> None:
    path = write_checkpoint(tmp_path, "Bert")
    single = load_classifier(str(path)).score(["you are awful"])[0]
    content = torch.load(path, weights_only=True)
    for name, tensor in content["state_dict"].items():
        if tensor.is_floating_point():
            content["state_dict"][name] = tensor.half()
    torch.save(content, path)
    half = load_classifier(str(path))
    assert half.dtype == torch.float32
    assert close(half.score(["you are awful"])[0], single, 1e-2)


def test_the_demo_classifier_finds_an_insult_deep_in_a_long_text_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    demo = load_classifier("demo", device="cpu")
    kind = "The fox walked to the river and drank. "
    hidden = kind * 100 + "You are a stupid idiot, shut up! " + kind * 100
    clean, found = demo.score([kind * 200, hidden])
    assert clean["toxicity"] < 0.3 < 0.7 < found["toxicity"]


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "nonsense:1"])
def test_a_device_that_is_not_here_is_named(device: str) -> None:
    with pytest.raises(ModelUnavailable, match=device):
        load_classifier("demo", device=device)
