"""The classifier's network in each dtype: how far bfloat16 is from float32, and what a text's neighbours change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, DistilBertConfig
from transformers import DistilBertForSequenceClassification as DistilBert

from contract.errors import ModelUnavailable
from tools.demo_models.grammar import corpus
from worker.processor import has_bfloat16
from worker.safety.batches import Batch, Window
from worker.safety.building import encoder
from worker.safety.detoxify import Classifier, load_classifier
from worker.safety.linear import Packed, Plain, native_dtype
from worker.safety.network import LEAST_WIDTH, Network

CPU = torch.device("cpu")
VOCABULARY = 200
SAME = 1e-6  # the largest change of a probability that a text's neighbours may make

needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")


def sentences(count: int) -> list[str]:
    """Texts of the demo's own kind, calm and rude, cut at any place."""
    rng = random.Random(1)
    stories = [story.text for story in corpus(seed=11, count=2 * count)]
    return [" ".join(rng.sample(stories, 2))[: rng.randint(1, 1500)] for _ in range(count)]


def table(classifier: Classifier, texts: list[str]) -> np.ndarray:
    """[texts, labels]."""
    return np.array([list(scores.values()) for scores in classifier.score(texts)])


def bert(width: int = LEAST_WIDTH) -> BertForSequenceClassification:
    """Six labels, random weights."""
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=4 * width,
        max_position_embeddings=64,
        num_labels=6,
    )
    return BertForSequenceClassification(config).eval()


def windows(*lengths: int) -> list[Window]:
    rng = random.Random(2)
    return [Window(i, [rng.randrange(5, VOCABULARY) for _ in range(length)]) for i, length in enumerate(lengths)]


@needs_bfloat16
def test_bfloat16_moves_no_probability_of_the_demo_classifier_by_a_hundredth() -> None:
    texts = sentences(200)
    exact, quick = (table(load_classifier("demo", "cpu", dtype=dtype), texts) for dtype in ("fp32", "bf16"))
    assert 0 < np.abs(exact - quick).max() < 0.01


@needs_bfloat16
def test_bfloat16_moves_no_probability_of_a_wider_network_by_a_two_hundredth() -> None:
    batch = Batch(windows(*range(17, 25)), 24, 8)
    exact, quick = (Network(encoder(bert()), CPU, dtype).probabilities(batch) for dtype in ("fp32", "bf16"))
    assert 0 < (exact - quick).abs().max() < 0.005


@pytest.mark.parametrize("dtype", ["fp32", pytest.param("bf16", marks=needs_bfloat16)])
def test_a_texts_neighbours_change_its_scores_by_less_than_a_millionth(dtype: str) -> None:
    texts, demo = sentences(60), load_classifier("demo", "cpu", dtype=dtype)
    together = table(demo, texts)
    alone = np.concatenate([table(demo, [text]) for text in texts])
    assert np.abs(together - alone).max() < SAME
    order = random.Random(4).sample(range(len(texts)), len(texts))
    assert np.abs(table(demo, [texts[i] for i in order]) - together[order]).max() < SAME


@pytest.mark.parametrize("dtype", ["fp32", pytest.param("bf16", marks=needs_bfloat16)])
@pytest.mark.parametrize("rows", [2, 3, 7, 16])
def test_a_rows_number_in_its_batch_changes_no_probability(dtype: str, rows: int) -> None:
    network, batch = Network(encoder(bert()), CPU, dtype), windows(*[29] * rows)
    together = network.probabilities(Batch(batch, 32, rows + rows // 3))  # some of no text among them
    assert len(together) == rows
    alone = torch.cat([network.probabilities(Batch([window], 32, 1)) for window in batch])
    assert (together - alone).abs().max() < SAME


def test_float32_gives_transformers_own_probabilities_with_and_without_padding() -> None:
    plain, network = bert(), Network(encoder(bert()), CPU, "fp32")
    for window in windows(24, 19):
        with torch.no_grad():
            expected = torch.sigmoid(plain(torch.tensor([window.tokens])).logits)
        assert torch.allclose(network.probabilities(Batch([window], 24, 1)), expected, atol=SAME)


def test_the_dtype_follows_the_device_but_for_a_network_too_narrow_for_bfloat16() -> None:
    assert Network(encoder(bert()), CPU, "auto").dtype == native_dtype(CPU)
    assert Network(encoder(bert(LEAST_WIDTH // 2)), CPU, "auto").dtype == torch.float32
    assert native_dtype(CPU) == (torch.bfloat16 if has_bfloat16() else torch.float32)


@needs_bfloat16
def test_embeddings_norms_and_head_stay_float32() -> None:
    model = bert()
    Network(encoder(model), CPU, "bf16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    kept = model.classifier(torch.zeros(1, LEAST_WIDTH))
    assert kept.dtype == torch.float32


def test_a_network_of_another_family_runs_as_transformers_has_it() -> None:
    torch.manual_seed(5)
    config = DistilBertConfig(vocab_size=VOCABULARY, dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=6)
    model = DistilBert(config).eval()
    (window,) = windows(11)
    with torch.no_grad():
        expected = torch.sigmoid(model(torch.tensor([window.tokens])).logits)
    network = Network(encoder(model), CPU, "auto")
    assert network.dtype == torch.float32
    assert torch.allclose(network.probabilities(Batch([window], 16, 1)), expected, atol=SAME)


@pytest.mark.parametrize("kind", [Plain, Packed])
@pytest.mark.parametrize("bias", [True, False])
def test_a_faster_layer_multiplies_as_the_layer_it_replaces(kind: type[Plain] | type[Packed], bias: bool) -> None:
    torch.manual_seed(6)
    layer, rows = torch.nn.Linear(48, 24, bias=bias), torch.randn(3, 8, 48)
    with torch.inference_mode():
        assert torch.allclose(kind(layer, torch.float32)(rows), layer(rows), atol=1e-5)
        assert kind(layer, torch.bfloat16)(rows).dtype == torch.bfloat16


def test_a_dtype_that_no_classifier_has_is_named() -> None:
    with pytest.raises(ModelUnavailable, match=r"'int8'.*auto, fp32 or bf16"):
        load_classifier("demo", "cpu", dtype="int8")


def wide(kind: str) -> Any:
    """768 wide, as published classifiers are, with one layer and random weights."""
    torch.manual_seed(8)
    sizes = {"vocab_size": VOCABULARY, "num_hidden_layers": 1, "max_position_embeddings": 80, "num_labels": 6}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    return getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()


@pytest.fixture(params=[1, 2, 3, 7])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["fp32", pytest.param("bf16", marks=needs_bfloat16)])
@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_a_window_has_the_same_bits_alone_and_in_company(kind: str, dtype: str, threads: int) -> None:
    network = Network(encoder(wide(kind)), CPU, dtype)
    for length, lengths in ((24, [24, 17, 20, 19, 23, 24, 18] * 5), (72, [72, 65, 71])):
        company = windows(*lengths)
        together = network.probabilities(Batch(company, length, len(company) + 1))
        for place in (0, len(company) - 1):
            alone = network.probabilities(Batch([company[place]], length, 1))
            assert torch.equal(alone[0], together[place]), (place, alone[0] - together[place])
