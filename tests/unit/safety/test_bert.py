"""BERT read without transformers: the same tokens and the same numbers as with it, and no part of what is unusual."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detoxify.detoxify import MODEL_URLS
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizer

from tests.examples import examples
from worker.demo import CLASSIFIER_PATH
from worker.processor import has_bfloat16
from worker.safety.batches import Batch, Reader, Window
from worker.safety.bert import read_bert
from worker.safety.building import build
from worker.safety.checkpoint import PUBLISHED, read_checkpoint
from worker.safety.network import Network

CPU = torch.device("cpu")
needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
ODD = ["", " ", "\n\t", "\x00\x07", "\ufffd" * 3, "😀🏳️‍🌈", "[PAD] [SEP] [sep]", "ẞ İ ﬁ é", "猫" * 50, "bad!bad", "##a"]
LONG = "a nice cat on the mat. " * 60
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def tiny(tmp_path: Path, write_checkpoint: Callable[..., Path]) -> Path:
    return write_checkpoint(tmp_path, "Bert")


def changed(path: Path, change: Change) -> None:
    said = json.loads(path.read_text()) if path.exists() else {}
    change(said)
    path.write_text(json.dumps(said))


@pytest.fixture(scope="module")
def demo_readers() -> tuple[Reader, Reader]:
    """The demonstration classifier's tokenizer, read in both ways."""
    checkpoint = read_checkpoint(CLASSIFIER_PATH)
    read = read_bert(checkpoint, CLASSIFIER_PATH.parent)
    assert read is not None
    return read[1], build(checkpoint, CLASSIFIER_PATH.parent)[1]


@given(texts=st.lists(st.text(max_size=200), max_size=4))
@examples(60)
def test_any_text_has_transformers_tokens(demo_readers: tuple[Reader, Reader], texts: list[str]) -> None:
    readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    ours, theirs = demo_readers
    assert ours.windows(readable) == theirs.windows(readable)


@pytest.mark.parametrize("stored", ["vocab.txt", "tokenizer.json", "cased tokenizer.json"])
def test_odd_and_long_texts_have_transformers_windows(tiny: Path, stored: str) -> None:
    folder = tiny.with_suffix("")
    if stored != "vocab.txt":
        BertTokenizer.from_pretrained(folder, do_lower_case=not stored.startswith("cased")).save_pretrained(folder)
        (folder / "vocab.txt").unlink(missing_ok=True)
    checkpoint = read_checkpoint(tiny)
    read = read_bert(checkpoint, folder)
    assert read is not None
    theirs, texts = build(checkpoint, folder)[1], [*ODD, LONG, *(LONG[:cut] for cut in range(20, 200, 7)), LONG.upper()]
    assert read[1].windows(texts) == theirs.windows(texts)
    assert read[1].longest == theirs.longest


@pytest.mark.parametrize("dtype", ["fp32", pytest.param("bf16", marks=needs_bfloat16)])
def test_the_probabilities_are_transformers_own(tiny: Path, dtype: str) -> None:
    checkpoint, folder = read_checkpoint(tiny), tiny.with_suffix("")
    read = read_bert(checkpoint, folder)
    assert read is not None
    ours, theirs = (Network(encoder, CPU, dtype) for encoder in (read[0], build(checkpoint, folder)[0]))
    for lengths in ([24] * 8, [17, 18, 20, 21, 23, 24, 22, 19], [3]):
        windows = [Window(row, list(range(2, 2 + length))) for row, length in enumerate(lengths)]
        batch = Batch(windows, 24, len(windows))
        expected = theirs.probabilities(batch)
        assert expected.std() > 0.01  # texts differ
        assert torch.allclose(ours.probabilities(batch), expected, atol=1e-6)


def test_nothing_of_transformers_is_loaded(tiny: Path) -> None:
    code = (
        "import sys; from worker.safety.detoxify import load_classifier\n"
        f"for name in ('demo', {str(tiny)!r}): load_classifier(name, 'cpu').score(['you'])\n"
        "sys.exit('transformers' in sys.modules or 'detoxify' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", lambda said: said.update(hidden_act="relu")),
        ("config.json", lambda said: said.update(position_embedding_type="relative_key")),
        ("config.json", lambda said: said.update(num_hidden_layers=1)),
        ("config.json", lambda said: said.update(num_hidden_layers=3)),
        ("config.json", lambda said: said.update(is_decoder=True)),
        ("config.json", lambda said: said.update(vocab_size="many")),
        ("config.json", lambda said: said.update(hidden_size=15)),
        ("config.json", lambda said: said.update(hidden_size=10**30)),
        ("config.json", lambda said: said.update(num_hidden_layers=10**9)),
        ("config.json", lambda said: said.update(pad_token_id=69)),
        ("config.json", lambda said: said.update(pad_token_id=-1)),
        ("config.json", lambda said: said.update(dtype="float16")),
        ("config.json", lambda said: said.update(torch_dtype=["float32"])),
        ("config.json", lambda said: said.update(configuration_files=["config.4.0.0.json"])),
        ("config.json", lambda said: said.update(per_layer_config={"0": {"hidden_act": "relu"}})),
        ("tokenizer_config.json", lambda said: said.update(strip_accents=True)),
        ("tokenizer_config.json", lambda said: said.update(truncation_side="left")),
        ("tokenizer_config.json", lambda said: said.update(unk_token="you")),
        ("tokenizer_config.json", lambda said: said.update(tokenizer_class="RobertaTokenizer")),
        ("tokenizer_config.json", lambda said: said.update(model_max_length=2)),
        ("special_tokens_map.json", lambda said: said.update(cls_token="you")),
        ("added_tokens.json", lambda said: said.update(you=5)),
        ("tokenizer.json", lambda said: said.update(model={"vocab": {"you": 0}})),
    ],
)
def test_what_is_unusual_is_left_to_transformers(tiny: Path, file: str, change: Change) -> None:
    folder, checkpoint = tiny.with_suffix(""), read_checkpoint(tiny)
    assert read_bert(checkpoint, folder) is not None
    changed(folder / file, change)
    assert read_bert(checkpoint, folder) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["normalizer"].update(lowercase=False),
        lambda said: said["normalizer"].update(strip_accents=True),
        lambda said: said["model"].update(continuing_subword_prefix="@@"),
        lambda said: said["post_processor"].update(single=said["post_processor"]["single"][:-1]),
        lambda said: said["added_tokens"].pop(),
        lambda said: said["model"]["vocab"].update(you=-1),
        lambda said: said["model"]["vocab"].update({"\ud800": 200}),
        lambda said: said.update(
            truncation={"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
        ),
    ],
)
def test_a_tokenizer_file_with_rules_of_its_own_is_left_to_transformers(tiny: Path, change: Change) -> None:
    folder, checkpoint = tiny.with_suffix(""), read_checkpoint(tiny)
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    assert read_bert(checkpoint, folder) is not None
    changed(folder / "tokenizer.json", change)
    assert read_bert(checkpoint, folder) is None


QUERY, KEY, VALUE = (f"bert.encoder.layer.0.attention.self.{part}.weight" for part in ("query", "key", "value"))


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.pop("classifier.bias"),
        lambda held: held.update(more=torch.ones(1)),
        lambda held: held.update({QUERY: torch.zeros(20, 16), KEY: torch.zeros(12, 16)}),  # as many rows together
        lambda held: held.update({KEY: torch.zeros(16, 32)}),
        lambda held: held.update({QUERY: torch.tensor(1.0), KEY: torch.tensor(1.0), VALUE: torch.tensor(1.0)}),
        lambda held: held.update({KEY: torch.zeros(16, 16, dtype=torch.long)}),
        lambda held: held.update({KEY: torch.zeros(16, 16, device="meta")}),
        lambda held: held.update({KEY: torch.zeros(16, 16).to_sparse()}),
        lambda held: held.update({KEY: torch.full((16, 16), float("nan"))}),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_left_to_transformers(tiny: Path, change: Change) -> None:
    checkpoint = read_checkpoint(tiny)
    assert KEY in checkpoint.state_dict
    change(checkpoint.state_dict)
    assert read_bert(checkpoint, tiny.with_suffix("")) is None


@pytest.mark.parametrize("ending", ["  \nlast ", "\r\nlast", "\nlast\n\n"])
def test_a_list_of_tokens_is_read_as_the_library_reads_it(tiny: Path, ending: str) -> None:
    folder, checkpoint = tiny.with_suffix(""), read_checkpoint(tiny)
    listed = (folder / "vocab.txt").read_text().splitlines()
    listed[-2:] = []  # room for two more
    (folder / "vocab.txt").write_text("\n".join(listed) + ending, newline="")
    read = read_bert(checkpoint, folder)
    assert read is not None
    texts = [*ODD, "last", f"a nice {listed[-1].removeprefix('##')}", LONG]
    assert read[1].windows(texts) == build(checkpoint, folder)[1].windows(texts)


def test_the_published_files_are_detoxifys() -> None:
    assert {name: url.rpartition("/")[2] for name, url in MODEL_URLS.items()} == PUBLISHED
