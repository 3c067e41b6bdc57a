"""GPT-2s that TensorFlow wrote, OpenAI's and gpt-2-simple's, compute here what they computed there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from contract.errors import UsageError
from worker.importing.importing import Imported, import_checkpoint
from worker.importing.tensorflow.tensor_bundle import TensorBundle

DATA = Path(__file__).parents[2] / "data" / "checkpoints"
TEXT = "Hello, the naïve miller\n\tpaid 3 € <|endoftext|>"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    found = tmp_path / "target"
    found.mkdir()
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder in OpenAI's layout, to be spoilt."""
    return Path(shutil.copytree(DATA / "openai", tmp_path / "source"))


def logits_of(folder: Path, tokens: list[int]) -> np.ndarray:
    with torch.no_grad():
        network: Any = AutoModelForCausalLM.from_pretrained(folder)
        return np.asarray(network(torch.tensor([tokens])).logits[0])


def refused(source: Path, target: Path, tokenizer: str | None = None) -> str:
    with pytest.raises(UsageError) as refusal:
        import_checkpoint(source, target, tokenizer)
    return str(refusal.value)


def numpy_logits(bundle: TensorBundle, tokens: list[int], heads: int) -> np.ndarray:
    """GPT-2 once more, from Radford et al. (2019) and OpenAI's variables alone."""
    weight = {name.removeprefix("model/"): bundle.read(name).astype(np.float64) for name in bundle.names
              if name.startswith("model/") and "Adam" not in name}  # fmt: skip

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight[f"{name}/g"] + weight[f"{name}/b"]
        )

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weight[f"{name}/w"][0] + weight[f"{name}/b"]

    x = weight["wte"][tokens] + weight["wpe"][: len(tokens)]
    future = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    for layer in range(sum(name.endswith("/ln_1/g") for name in weight)):
        qkv = linear(norm(x, f"h{layer}/ln_1"), f"h{layer}/attn/c_attn")
        q, k, v = (part.reshape(len(tokens), heads, -1).swapaxes(0, 1) for part in np.split(qkv, 3, -1))
        scores = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]) + future)
        attended = scores / scores.sum(-1, keepdims=True) @ v
        x = x + linear(attended.swapaxes(0, 1).reshape(x.shape), f"h{layer}/attn/c_proj")
        h = linear(norm(x, f"h{layer}/ln_2"), f"h{layer}/mlp/c_fc")
        h = h / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = x + linear(h, f"h{layer}/mlp/c_proj")
    return norm(x, "ln_f") @ weight["wte"].T


@pytest.mark.parametrize(
    ("folder", "prefix"), [("openai", "model.ckpt"), ("gpt-2-simple", "model-2"), ("shards", "model-7")]
)
def test_logits_are_those_of_tensorflow_and_of_the_formula(folder: str, prefix: str, target: Path) -> None:
    import_checkpoint(DATA / folder, target, None)
    computed_there = json.loads((DATA / folder / "logits.json").read_text())
    tokens = computed_there["tokens"]
    ours = logits_of(target, tokens)
    np.testing.assert_allclose(ours[-2:], computed_there["last_logits"], atol=1e-4)
    np.testing.assert_allclose(ours, numpy_logits(TensorBundle(DATA / folder / prefix), tokens, heads=2), atol=1e-4)


def test_the_tokenizer_is_the_one_beside_the_weights(target: Path) -> None:
    imported = import_checkpoint(DATA / "openai", target, None)
    tokenizer: Any = AutoTokenizer.from_pretrained(target)
    encoder = json.loads((DATA / "openai" / "encoder.json").read_text())
    tokens = tokenizer(TEXT)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(tokens) == [
        name for token in tokens for name in encoder if encoder[name] == token
    ]
    assert tokenizer.decode(tokens) == TEXT and tokens[-1] == tokenizer.eos_token_id == 299
    assert json.loads((target / "config.json").read_text())["eos_token_id"] == 299
    assert imported.tokenizer == str(DATA / "openai" / "encoder.json")


def test_every_file_that_was_read_is_named_with_its_hash(target: Path) -> None:
    imported: Imported = import_checkpoint(DATA / "shards", target, None)
    assert [file.name for file in imported.files] == [
        "model-7.index", "model-7.data-00000-of-00002", "model-7.data-00001-of-00002", "checkpoint", "hparams.json",
        "encoder.json", "vocab.bpe",
    ]  # fmt: skip
    assert all(len(file.sha256) == 64 and file.size for file in imported.files)


@pytest.mark.parametrize("named", [r'"C:\\Users\\Ada\\checkpoint\\run1\\model.ckpt"', '"/content/run1/model.ckpt"'])
def test_a_path_of_another_machine_counts_by_its_base_name(named: str, source: Path, target: Path) -> None:
    (source / "checkpoint").write_text(f"model_checkpoint_path: {named}\nall_model_checkpoint_paths: {named}\n")
    import_checkpoint(source, target, None)


def test_of_several_checkpoints_the_named_one_is_read(source: Path, target: Path) -> None:
    for path in source.glob("model.ckpt.*"):
        shutil.copyfile(path, source / path.name.replace("model.ckpt", "model-9"))
    (source / "model.ckpt.index").write_bytes(b"")
    (source / "checkpoint").write_text('model_checkpoint_path: "model-9"\n')
    assert import_checkpoint(source, target, None).files[0].name == "model-9.index"
    (source / "checkpoint").unlink()
    assert "which says which checkpoint is meant (it holds model-9.index, model.ckpt.index)" in refused(source, target)


def test_what_checkpoint_names_has_to_be_there(source: Path, target: Path) -> None:
    (source / "checkpoint").write_text('model_checkpoint_path: "model-1000"\n')
    assert "names model-1000, and model-1000.index is not beside it" in refused(source, target)
    (source / "model-1000").write_bytes(b"\x00old")
    assert f"{source / 'model-1000'}: is in TensorFlow's first format" in refused(source, target)
    (source / "checkpoint").write_text("nonsense")
    assert f"{source / 'checkpoint'}: names no checkpoint" in refused(source, target)


def test_partitioned_tensors_are_refused_by_name(target: Path) -> None:
    said = refused(DATA / "partitioned", target)
    assert "model.ckpt.index: model/wte is a partitioned tensor, stored in pieces" in said


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("hparams.json", None, "hparams.json: is missing; copy it"),
        ("hparams.json", "{", "hparams.json: cannot be read as JSON"),
        ("hparams.json", "[]", "hparams.json: is no JSON object"),
        ("hparams.json", {"n_head": 0}, "hparams.json: n_head is 0, and must be a whole number of at least 1"),
        ("hparams.json", {"n_head": 3}, "8 numbers a token cannot be divided among 3 heads"),
        ("hparams.json", {"n_layer": 1}, "holds tensors that no GPT-2 as hparams.json describes it has (model/h1/"),
        ("hparams.json", {"n_layer": 3}, "lacks 12 tensors of the GPT-2 that hparams.json describes (model/h2/attn"),
        ("hparams.json", {"n_ctx": 64}, "the tensor wpe.weight is [32, 8], and by the rest of the model it must be"),
        ("hparams.json", {"n_vocab": 301}, "encoder.json has 300 tokens, and"),
        ("encoder.json", None, "encoder.json: is missing; copy it from the model that was fine-tuned"),
        ("encoder.json", '{"a": 0, "b": 5}', "encoder.json: is no list of tokens numbered from 0 on"),
        ("vocab.bpe", None, "vocab.bpe: is missing"),
        ("vocab.bpe", "no merges", "vocab.bpe: is no list of merges"),
        ("vocab.bpe", "#version: 0.2\nx y\n", "vocab.bpe: has a merge of or to 'xy', which encoder.json does not have"),
        ("vocab.bpe", "#version: 0.2\nh e\n", "vocab.bpe: has no merge to 42 tokens of encoder.json ('"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(file: str, content: Any, told: str, source: Path, target: Path) -> None:
    path = source / file
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert told in refused(source, target)


def test_a_lost_vocabulary_may_be_named_instead(source: Path, target: Path) -> None:
    for name in ("encoder.json", "vocab.bpe"):
        (source / name).unlink()
    assert import_checkpoint(source, target, str((DATA / "shards").absolute())).tokenizer.endswith("encoder.json")
    assert "demo has 2,048 tokens, and" in refused(source, target, "demo")


def test_a_folder_of_folders_names_the_models_in_it(target: Path) -> None:
    said = refused(DATA, target)
    assert "holds no model itself; give one of the folders in it: " in said and str(DATA / "gpt-2-simple") in said


def test_whatever_else_is_named_with_what_is_read(tmp_path: Path, target: Path) -> None:
    assert "there is no such folder" in refused(tmp_path / "nowhere", target)
    assert "is no model that is known here (it is empty)" in refused(target, target)
    (tmp_path / "notes.txt").write_text("x")
    assert "is a file; give the folder that it lies in" in refused(tmp_path / "notes.txt", target)
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert "need not be imported; give it as it is: --model" in refused(tmp_path / "m.gguf", target)
