"""From names to engines: what is loaded, what is refused, and what the message tells the user to do."""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_hub import serving
from safetensors.torch import load_file, save_file
from small_tokenizers import wordpiece
from tiny_models import make_tokenizer, run_all, settings, text_of
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from contract.errors import ModelUnavailable, UsageError
from worker.engine.engine import SlotEngine
from worker.engine.load import from_transformers, loading
from worker.engine.load.checkpoint import find_checkpoint, in_folder
from worker.engine.load.loading import CPU_SLOTS, load_engine
from worker.engine.load.weight_files import wanted
from worker.engine.sequence import Completion, Request
from worker.processor import has_bfloat16, instruction_set


def in_cache(cache: Path, model: str, files: Path) -> None:
    """Lay files into a Hugging Face cache as a download would."""
    folder = cache / f"models--{model.replace('/', '--')}"
    revision = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    shutil.copytree(files, folder / "snapshots" / revision)


def test_a_folder_is_loaded_and_its_provenance_says_what_it_is(checkpoint: Path) -> None:
    loaded = load_engine(str(checkpoint), device="cpu", threads=2)
    assert isinstance(loaded.engine, SlotEngine)
    said = loaded.provenance
    assert (said.model, said.device, said.dtype) == (
        str(checkpoint.resolve()),
        "cpu",
        "bf16" if has_bfloat16() else "fp32",
    )
    assert (said.engine, said.torch) == (loaded.engine.name, torch.__version__)
    assert said.isa == instruction_set()
    assert len(said.revision) == 16
    assert torch.get_num_threads() == 2
    assert 1 <= loaded.engine.slots <= CPU_SLOTS
    assert text_of(loaded.engine)


def test_a_gpt2_runs_in_the_slots_whatever_its_tokenizer(tmp_path: Path) -> None:
    """The usual Chinese one has BERT's."""
    tokenizer = wordpiece(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    engine = load_engine(str(tmp_path), device="cpu", dtype="fp32", threads=2).engine
    assert isinstance(engine, SlotEngine)
    forced = settings(max_new_tokens=2, logit_bias=((tokenizer.convert_tokens_to_ids("好"), 100.0),))
    (done,) = run_all(engine, [Request(0, "你", forced, 0)]).values()
    assert isinstance(done, Completion)
    assert done.text == "好好"


def test_the_demo_model_is_loaded_by_its_name() -> None:
    loaded = load_engine("demo", device="cpu", threads=2, slots=3)
    assert (loaded.provenance.model, loaded.engine.slots) == ("demo", 3)
    assert isinstance(loaded.engine, SlotEngine)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_dtype_is_loaded_where_it_is_asked_for(checkpoint: Path, dtype: str) -> None:
    loaded = load_engine(str(checkpoint), device="cpu", dtype=dtype, threads=2)
    assert loaded.provenance.dtype == dtype
    assert text_of(loaded.engine)


def test_a_cpu_without_bfloat16_gets_float32_and_one_without_vnni_no_int8(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})
    assert load_engine(str(checkpoint), device="cpu", threads=2).provenance.dtype == "fp32"
    with pytest.raises(ModelUnavailable, match="lacks AVX-VNNI"):
        load_engine(str(checkpoint), device="cpu", dtype="int8")


def test_the_revision_follows_weights_configuration_and_tokenizer_and_nothing_else(copy: Path) -> None:
    seen = [in_folder(copy).revision()]
    (copy / "generation_config.json").write_text("{}")
    (copy / "README.md").write_text("a note")
    assert in_folder(copy).revision() == seen[0]
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        with (copy / name).open("ab") as file:
            file.write(b" ")
        seen.append(in_folder(copy).revision())
    assert len(set(seen)) == 4


def test_the_models_own_generation_config_is_ignored(checkpoint: Path, copy: Path) -> None:
    rules = {"do_sample": True, "top_k": 1, "bad_words_ids": [[5]], "max_new_tokens": 1, "eos_token_id": 40}
    (copy / "generation_config.json").write_text(json.dumps(rules))
    one, other = (load_engine(str(folder), device="cpu", threads=2).engine for folder in (checkpoint, copy))
    assert text_of(one) == text_of(other)


def test_weights_in_a_pytorch_file_give_the_same_texts(checkpoint: Path, copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    loaded = load_engine(str(copy), device="cpu", threads=2)
    assert text_of(loaded.engine) == text_of(load_engine(str(checkpoint), device="cpu", threads=2).engine)


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Stores the weights again, changed."""
    file = folder / "model.safetensors"
    save_file({name: one.clone() for name, one in change(load_file(file)).items()}, file, metadata={"format": "pt"})


def test_a_folder_laid_out_as_openais_gpt2_gives_the_same_texts(checkpoint: Path, copy: Path) -> None:
    # Names without the model's own, the causal masks beside the weights, and vocabulary and merges for a tokenizer.
    def published(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        masks = {f"h.{index}.attn.bias": torch.ones(1, 1, 128, 128) for index in range(2)}
        return masks | {name.removeprefix("transformer."): one for name, one in weights.items()}

    rewrite_weights(copy, published)
    model = json.loads((copy / "tokenizer.json").read_text())["model"]
    (copy / "vocab.json").write_text(json.dumps(model["vocab"]))
    (copy / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, model["merges"])]))
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
    loaded = load_engine(str(copy), device="cpu")
    assert isinstance(loaded.engine, SlotEngine)
    assert text_of(loaded.engine) == text_of(load_engine(str(checkpoint), device="cpu").engine)


def test_an_output_layer_that_is_stored_is_used_whatever_the_configuration_says(copy: Path) -> None:
    before = text_of(load_engine(str(copy), device="cpu").engine)
    rewrite_weights(copy, lambda weights: weights | {"lm_head.weight": weights["transformer.wte.weight"].flip(0)})
    assert text_of(load_engine(str(copy), device="cpu").engine) != before


def test_an_untied_output_layer_that_is_missing_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {"tie_word_embeddings": False}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match=r"lack 1 tensors .*lm_head"):
        load_engine(str(copy), device="cpu")


def test_weights_in_shards_give_the_same_texts(checkpoint: Path, copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, copy / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    (copy / "model.safetensors").unlink()
    loaded = load_engine(str(copy), device="cpu", threads=2)
    assert text_of(loaded.engine) == text_of(load_engine(str(checkpoint), device="cpu", threads=2).engine)
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="model-00002-of-00002"):
        load_engine(str(copy), device="cpu")


class Trap:
    """A pickle that creates a file when it is read without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("write", [torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap))])
def test_a_planted_pickle_is_refused_and_never_run(
    copy: Path, tmp_path: Path, write: Callable[[object, Path], object]
) -> None:
    trace = tmp_path / "it ran"
    write({"transformer.wte.weight": Trap(trace)}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        load_engine(str(copy), device="cpu")
    assert not trace.exists()


def test_safetensors_are_preferred_and_a_pickle_beside_them_is_not_even_read(copy: Path, tmp_path: Path) -> None:
    torch.save(Trap(tmp_path / "it ran"), copy / "pytorch_model.bin")
    load_engine(str(copy), device="cpu", threads=2)
    assert not (tmp_path / "it ran").exists()


def test_a_models_own_code_is_never_run(copy: Path, tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    (copy / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own: pass\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable):
        load_engine(str(copy), device="cpu")
    assert not trace.exists()


@pytest.mark.parametrize(
    "said",
    [
        {"attn_implementation": "someone/kernel"},
        {"_attn_implementation": "someone/kernel@main:forward"},
        {"text_config": {"experts_implementation": {"": "someone/kernel"}}},
    ],
)
def test_kernels_that_a_configuration_names_are_never_fetched(copy: Path, said: dict[str, object]) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | said))
    with pytest.raises(ModelUnavailable, match=r"config\.json: .* names code to fetch and run .*someone/kernel"):
        load_engine(str(copy), device="cpu")


def test_of_all_the_pickles_that_trainers_leave_none_is_read(copy: Path, tmp_path: Path) -> None:
    names = (
        "training_args.bin",
        "optimizer.pt",
        "rng_state.pth",
        "tokenizer.pkl",
        "vocab.pkl",
        "vocab.bin",
        "flax_model.msgpack",
    )
    for name in names:
        (copy / name).write_bytes(pickle.dumps(Trap(tmp_path / "it ran")))
    load_engine(str(copy), device="cpu", threads=2)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "config.json"])
def test_a_pickle_in_the_place_of_another_file_is_never_run(copy: Path, tmp_path: Path, name: str) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.json").write_text("{}")
    (copy / name).write_bytes(pickle.dumps(Trap(tmp_path / "it ran")))
    with pytest.raises(ModelUnavailable):
        load_engine(str(copy), device="cpu")
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (["config.json"], "config.json"),
        (["model.safetensors"], "model.safetensors"),
        (["tokenizer.json"], "tokenizer"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused_by_that_files_name(copy: Path, gone: list[str], named: str) -> None:
    for name in gone:
        (copy / name).unlink()
    with pytest.raises(ModelUnavailable, match=f"lacks .*{named}.*--model demo"):
        load_engine(str(copy))


@pytest.mark.parametrize("spoil", [b"", b"not weights at all", b"\xff" * 4000])
def test_damaged_weights_are_refused(copy: Path, spoil: bytes) -> None:
    (copy / "model.safetensors").write_bytes(spoil)
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        load_engine(str(copy), device="cpu")


def test_weights_that_are_not_all_of_a_language_model_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match="lack 1 tensors"):
        load_engine(str(copy), device="cpu")


def test_a_model_that_is_no_causal_language_model_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelUnavailable, match="causal language model"):
        load_engine(str(tmp_path), device="cpu")


def test_a_hub_id_where_no_hub_can_be_reached_is_refused_quickly_with_what_else_there_is(
    no_hub: Path, checkpoint: Path
) -> None:
    in_cache(no_hub, "someone/cached-model", checkpoint)
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"cannot be reached.*--model demo.*someone/cached-model"):
        load_engine("gpt2-that-is-nowhere")
    assert time.monotonic() - started < 20


def test_a_model_in_the_local_cache_is_loaded_without_asking_the_network(no_hub: Path, checkpoint: Path) -> None:
    in_cache(no_hub, "someone/cached-model", checkpoint)
    loaded = load_engine("someone/cached-model", device="cpu", threads=2)
    assert loaded.provenance.model == "someone/cached-model"
    assert text_of(loaded.engine)


def test_a_model_that_was_downloaded_is_there_without_the_network(
    no_hub: Path, reach: Callable[[str], None], copy: Path
) -> None:
    (copy / "modeling.py").write_text("raise SystemExit('its own code was run')")
    with serving("someone/model", copy) as (address, asked):
        reach(address)
        first = find_checkpoint("someone/model")
    assert not any("modeling.py" in path for path in asked)
    again = find_checkpoint("someone/model")
    assert (again.folder, again.revision()) == (first.folder, first.revision())
    assert text_of(load_engine("someone/model", device="cpu", threads=2).engine)


def test_a_cached_model_that_is_incomplete_is_asked_for_again(no_hub: Path, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    in_cache(no_hub, "someone/half", copy)
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        load_engine("someone/half", device="cpu")


@pytest.mark.parametrize(
    "name", ["", "/no/such/folder", "./nothing", "~/nothing-there", "a/b/c", "a b", "../x", "x--y"]
)
def test_a_name_that_is_nothing_is_refused(no_hub: Path, name: str) -> None:
    with pytest.raises(ModelUnavailable):
        find_checkpoint(name)


def test_a_file_is_no_model(checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="is a file"):
        find_checkpoint(str(checkpoint / "model.safetensors"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "fp8"}, "use auto, fp32, bf16 or int8"),
        ({"device": "tpu"}, "use auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, "use auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_a_device_or_dtype_that_cannot_be_had_is_refused(checkpoint: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(ModelUnavailable, match=said):
        load_engine(str(checkpoint), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_cuda_without_a_gpu_is_refused_with_what_to_do(checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="--device cpu, or install the CUDA build"):
        load_engine(str(checkpoint), device="cuda")


@pytest.mark.parametrize("options", [{"slots": 0}, {"slots": -3}, {"threads": 0}])
def test_fewer_than_one_slot_or_thread_is_wrong_use(checkpoint: Path, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        load_engine(str(checkpoint), **options)


def test_the_files_asked_of_the_hub_are_one_kind_of_weights_and_no_more() -> None:
    both = wanted({"model.safetensors", "pytorch_model.bin", "tf_model.h5", "config.json"})
    assert "model.safetensors" in both
    assert not [name for name in both if name.endswith((".bin", ".h5"))]
    sharded = wanted({"model.safetensors.index.json", "model-00001-of-00002.safetensors"})
    assert {"model.safetensors.index.json", "model-*.safetensors"} <= set(sharded)
    assert "pytorch_model.bin" in wanted({"pytorch_model.bin", "config.json"})


@pytest.mark.parametrize("model_type", ["gpt2", "gptj"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.json", {"transformers_weights": "other.safetensors"}),
        ("config.json", {"configuration_files": ["config.json", "config.4.0.0.json"]}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}),
    ],
)
def test_a_configuration_that_names_other_files_to_read_is_refused(
    copy: Path, model_type: str, name: str, said: dict[str, object]
) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": model_type}))
    shutil.copy(copy / "model.safetensors", copy / "other.safetensors")
    (copy / name).write_text(json.dumps(json.loads((copy / name).read_text()) | said))
    with pytest.raises(ModelUnavailable, match=rf"{name}: {next(iter(said))} names other files to read"):
        load_engine(str(copy), device="cpu")


def test_transformers_sees_no_file_that_the_revision_does_not_cover(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("adapter_config.json", "config.4.0.0.json", "quantize_config.json"):
        (copy / name).write_text("{}")
    (copy / "generation_config.json").write_text("no JSON")
    checkpoint = in_folder(copy)
    seen: list[set[str]] = []

    def watched(load: Callable[..., object]) -> Callable[..., object]:
        def from_pretrained(folder: str, **how: object) -> object:
            seen.append({path.name for path in Path(folder).iterdir()})
            return load(folder, **how)

        return from_pretrained

    for library in (from_transformers.library.AutoTokenizer, from_transformers.library.AutoModelForCausalLM):
        monkeypatch.setattr(library, "from_pretrained", watched(library.from_pretrained))
    from_transformers.read_tokenizer(checkpoint)
    from_transformers.read_network(checkpoint)
    assert seen == [set(checkpoint.others), {*checkpoint.weights, *checkpoint.others}]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_is_changed_while_a_model_is_loaded_is_not_loaded_under_another_revision(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    load = loading._engine

    def swapped(*arguments: object) -> object:
        engine = load(*arguments)  # type: ignore[arg-type]
        shutil.copy(copy / name, tmp_path / name)
        (tmp_path / name).replace(copy / name)
        return engine

    monkeypatch.setattr(loading, "_engine", swapped)
    with pytest.raises(ModelUnavailable, match=f"{name} was changed while it was loaded"):
        load_engine(str(copy), device="cpu")
