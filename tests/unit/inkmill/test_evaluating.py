"""`inkmill evaluate` as it is typed."""

from __future__ import annotations

import gzip
import io
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zstandard
from transformers import AutoModelForCausalLM, AutoTokenizer

from inkmill.cli import run
from inkmill.evaluate import read_text
from tests.unit.inkmill.conftest import Told
from tests.unit.worker.evaluation.test_perplexity import by_transformers
from worker.demo import GPT2_DIR

TEXT = "\n".join(f"Once upon a time there was a miller who had {n} mills by the river – naïve.\r\n" for n in range(60))


def test_a_text_is_the_same_however_it_is_packed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TEXT.encode()
    (folder / "t.txt").write_bytes(b"\xef\xbb\xbf" + data)
    (folder / "t.txt.gz").write_bytes(gzip.compress(data))
    (folder / "t.zst").write_bytes(zstandard.compress(data))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    read = [read_text(file) for file in ("t.txt", "t.txt.gz", "t.zst", "-")]
    assert read == [(name, TEXT) for name in ("t.txt", "t.txt.gz", "t.zst", "stdin")]


def test_a_text_has_the_perplexity_that_transformers_finds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "t.txt").write_bytes(TEXT.encode())
    assert run(["evaluate", "demo", "t.txt", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tokens = np.array(AutoTokenizer.from_pretrained(GPT2_DIR)(TEXT)["input_ids"])
    network = AutoModelForCausalLM.from_pretrained(GPT2_DIR)
    expected = by_transformers(network, tokens, network.config.n_positions)
    assert len(tokens) > 2 * network.config.n_positions
    assert found["perplexity"] == pytest.approx(expected, rel=1e-4)
    assert found["tokens"] == len(tokens)
    bits = math.log2(found["perplexity"]) * (len(tokens) - 1) / len(TEXT.encode())
    assert found["bits_per_byte"] == pytest.approx(bits)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "t.txt: is empty; a perplexity needs a text of two tokens or more"),
        (b"\xef\xbb\xbf", "t.txt: is empty"),
        (b"caf\xe9 au lait", "t.txt: is not UTF-8 at byte 4 of its text"),
        ("grinding".encode("utf-16"), "t.txt: is UTF-16"),
        (b"a", "t.txt: is 1 token to this model, and a perplexity needs two or more"),
    ],
)
def test_a_text_without_a_perplexity_is_refused(folder: Path, told: Told, data: bytes, said: str) -> None:
    (folder / "t.txt").write_bytes(data)
    assert said in told("evaluate", "demo", "t.txt", "--device", "cpu", code=2)


def test_what_is_no_text_or_no_model_is_refused(folder: Path, told: Told) -> None:
    assert "nothing.txt: no such file" in told("evaluate", "demo", "nothing.txt", code=2)
    assert ".: is a directory; name a text file" in told("evaluate", "demo", ".", code=2)
    assert "./none" in told("evaluate", "./none", "p.jsonl", code=2)
    (folder / "t.gz").write_bytes(gzip.compress(b"text")[:-9])
    assert "t.gz: the gz data is truncated" in told("evaluate", "demo", "t.gz", code=2)
