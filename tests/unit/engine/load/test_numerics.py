"""The digest of an engine's bits: the same wherever texts are the same, another where a last bit differs."""

from __future__ import annotations

import pytest
import torch

from tests.unit.engine.tiny_models import run_all, settings
from worker.engine.cpu.gpt2 import GPT2
from worker.engine.engine import SlotEngine
from worker.engine.load.checkpoint import find_checkpoint
from worker.engine.load.from_transformers import read_network, read_tokenizer
from worker.engine.load.loading import load_engine
from worker.engine.load.numerics import numerics
from worker.engine.sequence import Request
from worker.engine.tokenizer import ByteVocabulary


def engine(slots: int = 4, nudge: str = "") -> SlotEngine:
    """The demonstration model; with the last bit of one number of the tensor `nudge` changed."""
    checkpoint = find_checkpoint("demo")
    network = read_network(checkpoint)
    config, weights = network.config, network.state_dict()
    if nudge:
        weights[nudge] = weights[nudge].clone()
        weights[nudge].view(torch.int16 if weights[nudge].element_size() == 2 else torch.int32)[..., 0] ^= 1
    return SlotEngine(GPT2(config, weights, "fp32"), ByteVocabulary(read_tokenizer(checkpoint), config), slots)


def test_it_depends_neither_on_slots_nor_on_what_was_written_before_and_leaves_nothing_behind() -> None:
    first = engine()
    digest = numerics(first)
    assert first.pending == 0
    run_all(first, [Request(0, "Once upon", settings(max_new_tokens=5), 5)])
    assert numerics(first) == numerics(engine(slots=1)) == digest


@pytest.mark.parametrize("name", ["transformer.h.0.attn.c_attn.weight", "transformer.ln_f.bias"])
def test_a_last_bit_of_some_numbers_of_one_layer_makes_it_another(name: str) -> None:
    assert numerics(engine(nudge=name)) != numerics(engine())


def test_what_an_engine_writes_names_it() -> None:
    loaded = load_engine("demo", "cpu", "fp32", slots=2, threads=1)
    made_by = loaded.provenance
    assert made_by.numerics == numerics(loaded.engine)
    assert made_by.threads == 1
    assert made_by.onednn.count(".") == 2
    assert made_by.isa.split()[0] == torch.backends.cpu.get_cpu_capability()
