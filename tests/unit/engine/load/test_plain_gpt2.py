"""GPT-2 read without transformers: the same as with it, or nothing at all, and then transformers reads it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import make_gpt2

from contract.errors import ModelUnavailable
from tests.examples import examples
from worker.demo import GPT2_DIR
from worker.engine.load import from_transformers
from worker.engine.load.checkpoint import in_folder
from worker.engine.load.loading import load_engine
from worker.engine.load.plain_gpt2 import PlainTokenizer, read_config, read_tokenizer, read_weights
from worker.engine.tokenizer import ByteVocabulary

TEXTS = [
    "",
    "Once upon a time",
    " <|endoftext|>x<|endoftext|>",
    "naïve 東京 🙂\n\n\t  it's",
    "\x00\u00ad\ufffd",
    "a" * 3000,
]


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint in a folder that a test may change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def rewrite(file: Path, **changes: Any) -> None:
    """Changes entries of a JSON file; None takes one out."""
    said = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))


def weights_of(folder: Path) -> dict[str, torch.Tensor] | None:
    config = read_config(folder)
    return None if config is None else read_weights(in_folder(folder), config)


def restore(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Stores the weights again, changed."""
    file = folder / "model.safetensors"
    save_file({name: one.clone() for name, one in change(load_file(file)).items()}, file, metadata={"format": "pt"})


def assert_read_alike(folder: Path) -> None:
    """Everything is read plainly, and transformers reads the same."""
    network = from_transformers.read_network(in_folder(folder))
    config, weights = read_config(folder), weights_of(folder)
    assert config is not None and weights is not None
    for name in config.__slots__:
        assert getattr(config, name) == getattr(network.config, name)
    theirs = network.state_dict()
    assert theirs.keys() - weights.keys() <= {"lm_head.weight"}
    assert all(torch.equal(one, theirs[name]) and one.dtype == torch.float32 for name, one in weights.items())
    head = weights.get("lm_head.weight", weights["transformer.wte.weight"])
    assert torch.equal(head, theirs["lm_head.weight"])


def vocabularies(folder: Path) -> tuple[ByteVocabulary, ByteVocabulary]:
    """The one with the tokenizer that is read plainly, and the one with transformers'."""
    config, tokenizer = read_config(folder), read_tokenizer(folder)
    assert tokenizer is not None
    return ByteVocabulary(tokenizer, config), ByteVocabulary(from_transformers.read_tokenizer(folder), config)


def tokens(vocabulary: ByteVocabulary, text: str) -> object:
    return vocabulary.encode(text), vocabulary.banned(text)


def test_the_demo_model_is_read_alike() -> None:
    assert_read_alike(GPT2_DIR)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": False},
        {"n_inner": 48, "scale_attn_by_inverse_layer_idx": True},
        {"activation_function": "gelu_pytorch_tanh", "layer_norm_epsilon": 1e-6, "scale_attn_weights": False},
    ],
)
def test_a_checkpoint_that_transformers_wrote_is_read_alike(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert_read_alike(make_gpt2(tmp_path / "model", n_layer=1, **changes))


def test_names_of_the_model_without_its_output_layer_are_read_alike(copy: Path) -> None:
    # The checkpoints that OpenAI's weights were published as have these names, and the causal masks beside them.
    def bare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        masks = {f"h.{index}.attn.bias": torch.ones(1, 1, 128, 128) for index in range(2)}
        return masks | {name.removeprefix("transformer."): one for name, one in weights.items()}

    restore(copy, bare)
    assert_read_alike(copy)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_alike(copy: Path, dtype: torch.dtype) -> None:
    restore(copy, lambda weights: {name: one.to(dtype) for name, one in weights.items()})
    assert_read_alike(copy)


def test_an_output_layer_of_its_own_is_used_whatever_the_configuration_says(copy: Path) -> None:
    restore(copy, lambda weights: weights | {"lm_head.weight": weights["transformer.wte.weight"].flip(0)})
    assert_read_alike(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gpt_neo"},
        {"n_embd": "64"},
        {"n_layer": True},
        {"n_head": 3},
        {"hidden_size": 64},
        {"layer_norm_epsilon": "1e-5"},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"eos_token_id": "<|endoftext|>"},
        {"configuration_files": ["config.4.0.0.json"]},
        {"per_layer_config": {"0": {"activation_function": "relu"}}},
    ],
)
def test_an_unusual_configuration_is_left_to_transformers(copy: Path, changes: dict[str, Any]) -> None:
    assert read_config(copy) is not None
    rewrite(copy / "config.json", **changes)
    assert read_config(copy) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights | {"transformer.wpe.weight": weights["transformer.wpe.weight"][:-1]},
        lambda weights: weights | {"transformer.h.2.ln_1.weight": torch.ones(64)},
        lambda weights: {name: one for name, one in weights.items() if "ln_f" not in name},
        lambda weights: weights | {"transformer.ln_f.bias": torch.ones(64, dtype=torch.int32)},
    ],
)
def test_weights_that_are_not_just_those_of_the_configuration_are_left_to_transformers(
    copy: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    restore(copy, change)
    assert weights_of(copy) is None


def test_an_untied_output_layer_that_is_missing_is_refused(copy: Path) -> None:
    rewrite(copy / "config.json", tie_word_embeddings=False)
    assert weights_of(copy) is None
    with pytest.raises(ModelUnavailable, match=r"lack 1 tensors .*lm_head"):
        load_engine(str(copy), device="cpu")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"tokenizer_class": "GPT2Tokenizer"},
        {"tokenizer_class": "GPT2TokenizerFast", "bos_token": None, "eos_token": None, "unk_token": None},
        {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False},
        {"tokenizer_class": None, "backend": None},
    ],
)
def test_a_tokenizer_is_read_alike(copy: Path, said: dict[str, Any]) -> None:
    rewrite(copy / "tokenizer_config.json", **said)
    ours, theirs = vocabularies(copy)
    assert (ours.eos, ours._special, ours._pieces) == (theirs.eos, theirs._special, theirs._pieces)
    for text in TEXTS:
        assert tokens(ours, text) == tokens(theirs, text)


@pytest.fixture(scope="module")
def both(checkpoint: Path) -> tuple[ByteVocabulary, ByteVocabulary]:
    return vocabularies(checkpoint)


@examples(50)
@given(text=st.text(max_size=80))
def test_any_text_has_the_same_tokens(both: tuple[ByteVocabulary, ByteVocabulary], text: str) -> None:
    assert tokens(both[0], text) == tokens(both[1], text)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("tokenizer_config.json", {"add_prefix_space": True}),
        ("tokenizer_config.json", {"add_bos_token": True}),
        ("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"}),
        ("tokenizer_config.json", {"extra_special_tokens": ["<|x|>"]}),
        ("tokenizer_config.json", {"eos_token": "<|nowhere|>"}),
        ("tokenizer_config.json", {"eos_token": {"content": "<|endoftext|>"}}),
        ("tokenizer.json", {"normalizer": {"type": "Lowercase"}}),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}),
        ("tokenizer.json", {"decoder": {"type": "Fuse"}}),
        (
            "tokenizer.json",
            {"post_processor": {"type": "BertProcessing", "sep": ["<|endoftext|>", 0], "cls": ["<|endoftext|>", 0]}},
        ),
        ("special_tokens_map.json", {"eos_token": "<|endoftext|>"}),
        ("added_tokens.json", {"<|x|>": 400}),
    ],
)
def test_an_unusual_tokenizer_is_left_to_transformers(copy: Path, file: str, changes: dict[str, Any]) -> None:
    assert isinstance(read_tokenizer(copy), PlainTokenizer)
    if not (copy / file).exists():
        (copy / file).write_text("{}")
    rewrite(copy / file, **changes)
    assert read_tokenizer(copy) is None


def test_an_ordinary_gpt2_is_loaded_without_transformers(checkpoint: Path) -> None:
    program = (
        "import sys; from worker.runtime.runtime import Runtime; from worker.engine.load.loading import load_engine;"
        f"load_engine({str(checkpoint)!r}, device='cpu', threads=2); print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr[-2000:]
