"""What a name or a folder has to be to mean a model or a classifier, told by its files alone: before a job is stored,
and when a worker loads it, in the same words.

Nothing is loaded here, and torch is not known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.errors import UsageError
from contract.model_kinds import adapter
from contract.model_kinds.gguf import gguf_problem, is_gguf
from contract.model_kinds.hub_model import HubModel, is_hub_id, revision_problem
from contract.model_kinds.unfetched import unfetched_problem
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""One of these is needed; the first one found is used."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
)
"""At least one of these is needed; all that exist are used."""
CLASSIFIER_SUFFIXES = (".ckpt", ".pt")

LAYOUT = "config.json, weights (model.safetensors) and a tokenizer (tokenizer.json)"


@dataclass(frozen=True, slots=True)
class OtherKind:
    """Something that people give for a model and that is none."""

    found: Callable[[Sequence[str]], str | None]  # a file's name that shows it, among those of a folder
    told: str  # what it is, and the way out


def _named(*names: str) -> Callable[[Sequence[str]], str | None]:
    return lambda present: next((name for name in names if name in present), None)


def _ending(*endings: str) -> Callable[[Sequence[str]], str | None]:
    return lambda present: next((name for name in sorted(present) if name.lower().endswith(endings)), None)


OTHER_KINDS = (
    OtherKind(
        _named(adapter.CONFIG, adapter.WEIGHTS, "adapter_model.bin"),
        f"is part of an adapter: give the folder that has both {adapter.CONFIG} and {adapter.WEIGHTS} "
        "(peft's save_pretrained() writes them)",
    ),
    OtherKind(_ending(".gguf"), "is a model in llama.cpp's format: give that file itself as --model"),
    OtherKind(
        _ending(".ggml"),
        f"is in llama.cpp's old format, which is not read here: give the folder that it was made from, with {LAYOUT}",
    ),
    OtherKind(
        _ending(".h5", ".msgpack", ".onnx", ".tflite", ".mlmodel"),
        f"is made for another library than PyTorch: save the model from PyTorch, as a folder with {LAYOUT}",
    ),
    OtherKind(
        _ending(*CLASSIFIER_SUFFIXES, ".pth"),
        f"is a bare checkpoint, whose layout is not known: save the model with save_pretrained(), as a folder with "
        f"{LAYOUT}; a classifier's checkpoint goes to --safety",
    ),
    OtherKind(
        _named("model_index.json"),
        f"belongs to a model that makes images: give the folder of a language model, with {LAYOUT}",
    ),
)
"""Asked one after the other where a folder is no whole model, and for a file that is given in a folder's place."""


def check_classifier(name: str) -> None:
    """Refuses a classifier that no worker could load, before anything is stored.

    Args:
        name: as `contract.names.safety_name` returns it.

    Raises:
        UsageError: with the sentence that a worker would say.
    """
    if name in (*BUILT_IN_CLASSIFIERS, NO_SAFETY):
        return
    if problem := classifier_problem(Path(name)):
        raise UsageError(problem)


def path_problem(path: Path) -> str | None:
    """Why a path cannot be a model's, with the way out; None if it may be."""
    return gguf_problem(path) if is_gguf(path) and not path.is_dir() else model_folder_problem(path)


def model_folder_problem(folder: Path) -> str | None:
    """Why a folder cannot be a model, with the way out; None if it may be one."""
    if not folder.is_dir():
        return not_a_folder(folder)
    try:
        present = sorted(path.name for path in folder.iterdir())
        if adapter.is_adapter(present, WEIGHTS):
            return adapter.adapter_problem(folder) or _base_problem(folder)
        lacking = list(_lacking(folder, present))
        return _incomplete(folder, present, lacking) if lacking else _unusable(folder, present)
    except OSError as error:
        return f"the model folder {folder} cannot be read ({error.strerror}); give one that you may read"


def not_a_folder(path: Path) -> str:
    """Why something that is no folder is no model."""
    if not path.exists():
        return f"there is no folder {path}; give a model's folder, a Hub id such as gpt2, or --model demo"
    beside = f"; perhaps {path.parent}" if shows_a_model(path.parent) else ""
    for kind in OTHER_KINDS:
        if kind.found([path.name]):
            return f"{path} is a file, and no model by itself; it {kind.told}{beside}"
    return f"{path} is a file; a model is a folder with {LAYOUT}: give the folder{beside}"


def weights_files(folder: Path, present: Sequence[str]) -> tuple[str, ...]:
    """The file of the weights, or an index and the files that it names; none where there are no weights.

    Raises:
        ValueError: the index is none.
    """
    weights = next((name for name in WEIGHTS if name in present), None)
    if weights is None or not weights.endswith(".index.json"):
        return (weights,) if weights else ()
    try:
        names = set(json.loads((folder / weights).read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{folder / weights} is no index of weights: {error}") from error
    return (weights, *sorted(map(str, names)))


def classifier_problem(path: Path) -> str | None:
    """Why a path cannot be a classifier's checkpoint, with the way out; None if it may be one."""
    if not path.is_dir():
        return unfetched_problem(path) if path.is_file() else f"{path}: there is no such checkpoint file or folder"
    try:
        present = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); give a checkpoint that you may read"
    checkpoints = [name for name in present if name.endswith(CLASSIFIER_SUFFIXES) and (path / name).is_file()]
    if len(checkpoints) == 1:
        return unfetched_problem(path / checkpoints[0])
    held = f"a classifier's folder holds exactly one {' or '.join(CLASSIFIER_SUFFIXES)} file"
    if checkpoints:
        return f"{path}: {held}, here: {', '.join(checkpoints)}; give the file's own path"
    if "config.json" in present:
        return f"{path}: {held}, and this is a model in transformers' layout; give a checkpoint in Detoxify's layout"
    return f"{path}: {held}, here: none; give a checkpoint in Detoxify's layout, or one of {_built_in()}"


def shows_a_model(folder: Path) -> bool:
    """Whether a folder looks like a model's or an adapter's."""
    return any((folder / name).is_file() for name in ("config.json", adapter.CONFIG))


def _built_in() -> str:
    return ", ".join(BUILT_IN_CLASSIFIERS)


def _base_problem(folder: Path) -> str | None:
    """Why an adapter's base cannot be what it is merged into."""
    name = adapter.base_model(folder)
    base = Path(name)
    if not base.is_absolute():
        problem = hub_id_problem(name)
    elif base.is_dir() and adapter.is_adapter({path.name for path in base.iterdir()}, WEIGHTS):
        problem = f"{base} holds an adapter itself; merge that into its own base first"
    else:
        problem = model_folder_problem(base)
    return problem and f"the adapter in {folder} belongs to another model ({adapter.CONFIG} names it), but {problem}"


def _lacking(folder: Path, present: Sequence[str]) -> Iterator[str]:
    """The files that a folder lacks."""
    if "config.json" not in present:
        yield "config.json"
    try:
        weights = weights_files(folder, present)
    except ValueError:
        weights = (next(name for name in WEIGHTS if name in present),)  # there, and told when it is read
    if not weights:
        yield "model.safetensors (or pytorch_model.bin)"
    if not set(present).intersection(TOKENIZER_FILES):
        yield "the tokenizer (tokenizer.json, or vocab.json and merges.txt)"
    yield from (name for name in weights if name not in present)


def _incomplete(folder: Path, present: Sequence[str], lacking: Sequence[str]) -> str:
    beneath = next(filter(shows_a_model, _folders_beneath(folder)), None)
    if "config.json" in lacking and beneath:
        return f"the model folder {folder} holds no model itself, but {beneath} may be one; give that"
    for kind in OTHER_KINDS:
        if file := kind.found(present):
            return f"the model folder {folder} lacks {', '.join(lacking)}; {file} in it {kind.told}"
    saved = "tokenizer" if len(lacking) == 1 and "tokenizer" in lacking[0] else "model"
    return (
        f"the model folder {folder} lacks {', '.join(lacking)}; save the {saved} there with save_pretrained(), or "
        "give another folder, a Hub id, or --model demo"
    )


def _folders_beneath(folder: Path) -> Iterator[Path]:
    """Where a model often is instead: the newest checkpoint of a training, a snapshot in the Hub's cache."""
    folders = [path for path in (*folder.glob("*"), *folder.glob("snapshots/*")) if path.is_dir()]
    return iter(sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True))


def _unusable(folder: Path, present: Sequence[str]) -> str | None:
    """Why a folder with all the files is still no model."""
    config = folder / "config.json"
    try:
        described = json.loads(config.read_bytes())
    except (ValueError, RecursionError):
        return f"{config} is no JSON; fetch or save the model once more"
    if not isinstance(described, dict) or not described.get("model_type"):
        return f"{config} names no model_type, so it describes no model of transformers; give another folder"
    try:
        weights = weights_files(folder, present)
    except ValueError as error:
        return f"{error}; fetch or save the model once more"
    return next((problem for name in weights if (problem := unfetched_problem(folder / name))), None)


def hub_id_problem(name: str) -> str | None:
    """Why a name cannot be that of a model of the Hub, or of one of its revisions."""
    if Path(name).is_file() and any(kind.found([name]) for kind in OTHER_KINDS):
        return not_a_folder(Path(name).absolute())
    model = HubModel.parse(name)
    if is_hub_id(model.id):
        return revision_problem(model)
    return (
        f"{name!r} is neither a folder here nor a Hub id, which is NAME or OWNER/NAME; give a folder that exists "
        "(./NAME), a Hub id such as gpt2, or --model demo"
    )
