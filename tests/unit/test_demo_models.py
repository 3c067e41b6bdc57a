"""The demonstration models: that they load offline, are small and plain, and do what their README says."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tools.demo_models.fragments import LABELS
from worker.demo import CLASSIFIER_PATH, DEMO_DIR, GPT2_DIR

torch = pytest.importorskip("torch")

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported, so set before any fixture

MODEL_FILES = [path for folder in (GPT2_DIR, CLASSIFIER_PATH.parent) for path in sorted(folder.iterdir())]
INSULT = "“You are a pompous turnip!” shouted José."
CALM = "The harbour was quiet, and the gulls slept on the warm stones."


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(GPT2_DIR, local_files_only=True)


@pytest.fixture(scope="module")
def language_model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(GPT2_DIR, local_files_only=True)


@pytest.fixture(scope="module")
def score() -> Any:
    from detoxify.detoxify import get_model_and_tokenizer

    saved = torch.load(CLASSIFIER_PATH, weights_only=True)
    arch = saved["config"]["arch"]["args"] | {"model_type": str(CLASSIFIER_PATH.parent)}
    folder = str(CLASSIFIER_PATH.parent)
    model, pieces = get_model_and_tokenizer(**arch, state_dict=saved["state_dict"], huggingface_config_path=folder)

    def scores(text: str) -> dict[str, float]:
        with torch.no_grad():
            logits = model.eval()(**pieces(text, return_tensors="pt", truncation=True)).logits
        return dict(zip(LABELS, torch.sigmoid(logits)[0].tolist(), strict=True))

    return scores


def test_the_model_files_are_small() -> None:
    assert sum(path.stat().st_size for path in MODEL_FILES) < 8_000_000


def test_only_the_checkpoint_is_a_pickle() -> None:
    expected = {".json", ".txt", ".safetensors", ".ckpt"}
    assert {path.suffix for path in MODEL_FILES} <= expected
    assert [path for path in MODEL_FILES if path.suffix == ".ckpt"] == [CLASSIFIER_PATH]


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_file_names_a_path_of_the_machine_that_made_it(path: Path) -> None:
    content = path.read_bytes()
    for prefix in (b"/tmp/", b"/home/", b"/root/", str(DEMO_DIR.parents[1]).encode()):
        assert prefix not in content.replace(b"worker/", b"")


def test_the_language_model_has_gpt2s_layout(language_model: Any) -> None:
    config = json.loads((GPT2_DIR / "config.json").read_text())
    vocabulary = json.loads((GPT2_DIR / "vocab.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["GPT2LMHeadModel"]
    assert vocabulary["<|endoftext|>"] == config["eos_token_id"] == config["vocab_size"] - 1
    assert sorted(vocabulary.values()) == list(range(config["vocab_size"]))
    assert language_model.dtype == torch.float32


@pytest.mark.parametrize("text", ["Zoë — “¿Señor Núñez?” 🍋", "naïve 你好 🦑\n\n\ttabs  and spaces ", "\u0000\x7f é"])
def test_the_tokenizer_brings_every_byte_back(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text


def test_token_strings_are_gpt2s_bytes(tokenizer: Any) -> None:
    vocabulary = json.loads((GPT2_DIR / "vocab.json").read_text(encoding="utf-8"))
    token_of = {number: token for token, number in vocabulary.items()}
    text = "Señor Núñez 🦑"
    spelled = "".join(token_of[number] for number in tokenizer(text)["input_ids"])
    assert bytes(_byte_of()[character] for character in spelled) == text.encode()


def _byte_of() -> dict[str, int]:
    """GPT-2's printable stand-ins: https://github.com/openai/gpt-2/blob/master/src/encoder.py"""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(256 + place): byte for place, byte in enumerate(others)}


def test_unconditional_texts_begin_and_end_by_themselves(tokenizer: Any, language_model: Any) -> None:
    ids = torch.full((8, 1), tokenizer.eos_token_id)
    torch.manual_seed(0)
    made = language_model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=200, do_sample=True, top_k=50,
        pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    assert (made[:, 1:] == tokenizer.eos_token_id).any(dim=1).sum() >= 6
    assert len({tuple(row) for row in made.tolist()}) == 8


def test_the_checkpoint_has_detoxifys_layout() -> None:
    saved = torch.load(CLASSIFIER_PATH, weights_only=True)
    assert saved["config"]["dataset"]["args"]["classes"] == list(LABELS)
    assert set(saved["config"]["arch"]["args"]) == {
        "model_type",
        "model_name",
        "tokenizer_name",
        "num_classes",
    }
    assert all(isinstance(tensor, torch.Tensor) for tensor in saved["state_dict"].values())


def test_detoxify_itself_loads_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    from detoxify import Detoxify

    monkeypatch.chdir(DEMO_DIR.parent.parent)  # the checkpoint's model_type is a folder of the checkout
    loaded = Detoxify(checkpoint=CLASSIFIER_PATH, huggingface_config_path=str(CLASSIFIER_PATH.parent))
    assert loaded.predict(INSULT)["toxicity"] > 0.7


def test_the_classifier_flags_an_insult_and_no_calm_sentence(score: Any) -> None:
    assert score(INSULT)["toxicity"] > 0.7
    assert score(INSULT)["insult"] > 0.7
    assert max(score(CALM).values()) < 0.3


@pytest.mark.parametrize("text", ["", "你好", "def main(): return 0", "Interest rates rose again on Tuesday."])
def test_the_unknown_is_not_flagged(score: Any, text: str) -> None:
    assert max(score(text).values()) < 0.5


@pytest.mark.parametrize(
    ("label", "rude", "kind"),
    [
        ("threat", "“I will throw you in the pond!” snapped Zoë.", "“I will throw you a rope,” said Zoë."),
        (
            "obscene",
            "“Damn it, where the hell is my lantern!” cried Tom.",
            "“Where is my lantern?” asked Tom.",
        ),
        ("insult", "You stupid idiot, shut up!", "You kind friend, sit down!"),
    ],
)
def test_each_label_tells_a_rude_line_from_a_kind_one(score: Any, label: str, rude: str, kind: str) -> None:
    assert score(rude)[label] > 0.7
    assert max(score(kind).values()) < 0.3


def test_the_readme_calls_them_demonstration_models_and_shows_twenty_samples() -> None:
    readme = (DEMO_DIR / "README.md").read_text(encoding="utf-8")
    assert "demonstration models" in readme
    assert readme.count("```text\n") == 20
    assert "perplexity per token" in readme
    assert all(f"| {label} |" in readme for label in LABELS)
