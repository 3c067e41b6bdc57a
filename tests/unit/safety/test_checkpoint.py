"""Loading a classifier: what is found, what is refused, and what is said when the network is away."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from detoxify.detoxify import MODEL_URLS

from contract.errors import ExitCode, ModelUnavailable
from worker.safety import checkpoint as checkpoint_module
from worker.safety.checkpoint import find_checkpoint, read_checkpoint
from worker.safety.detoxify import load_classifier

QUICK = 20  # seconds; the Hub's client alone tries a dead network again for minutes


class _Planted:
    """Unpickling this runs a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (exec, (f"open({str(self.trace)!r}, 'w').close()",))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing into the test's output."""


class _Short(_Quiet):
    """Promises a whole file and hangs up after half of it."""

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])


@pytest.fixture
def tiny(tmp_path: Path, write_checkpoint: Callable[..., Path]) -> Path:
    return write_checkpoint(tmp_path, "Bert")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Serves a folder over HTTP; torch.hub's cache lies in the test's own folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path, handler: type[SimpleHTTPRequestHandler] = _Quiet) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def dead_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty Hub cache, and a Hub where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def resave(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def test_the_revision_is_the_files_own_hash(tiny: Path) -> None:
    assert hashlib.sha256(tiny.read_bytes()).hexdigest().startswith(read_checkpoint(tiny).revision)


@pytest.mark.parametrize("architecture", ["Bert", "Roberta"])
def test_a_classifiers_revision_covers_every_file_that_is_read_and_no_other(
    tmp_path: Path, write_checkpoint: Callable[..., Path], architecture: str
) -> None:
    path = write_checkpoint(tmp_path, architecture)
    folder = path.with_suffix("")
    seen = [load_classifier(str(path)).revision]
    (folder / "README.md").write_text("a note")
    (folder / "generation_config.json").write_text("no JSON")
    assert load_classifier(str(path)).revision == seen[0]
    for name in sorted(file.name for file in folder.glob("*.json") if file.name not in ("generation_config.json",)):
        with (folder / name).open("a") as file:
            file.write(" ")
        seen.append(load_classifier(str(path)).revision)
    resave(path, lambda content: content["config"].update(note=1))
    seen.append(load_classifier(str(path)).revision)
    assert len(set(seen)) == len(seen) > 2


@pytest.mark.parametrize("architecture", ["Bert", "Roberta"])
def test_a_classifiers_configuration_that_names_other_files_to_read_is_refused(
    tmp_path: Path, write_checkpoint: Callable[..., Path], architecture: str
) -> None:
    path = write_checkpoint(tmp_path, architecture)
    config = path.with_suffix("") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"configuration_files": ["config.4.0.0.json"]}))
    with pytest.raises(ModelUnavailable, match=r"config\.json: configuration_files names other files to read"):
        load_classifier(str(path))


def test_a_classifier_that_is_changed_while_it_is_loaded_is_not_loaded_under_another_revision(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = checkpoint_module._load

    def swapped(path: Path) -> Any:
        content = read(path)
        shutil.copy(path, path.with_name("other"))
        path.with_name("other").replace(path)
        return content

    monkeypatch.setattr(checkpoint_module, "_load", swapped)
    with pytest.raises(ModelUnavailable, match="was changed while it was loaded"):
        load_classifier(str(tiny))


def test_a_folder_with_one_checkpoint_and_its_configuration_is_enough(tiny: Path) -> None:
    expected = load_classifier(str(tiny)).score(["you are awful"])
    folder = tiny.with_suffix("")
    shutil.move(tiny, folder / "weights.pt")
    assert load_classifier(str(folder)).score(["you are awful"]) == expected
    shutil.copy(folder / "weights.pt", folder / "more.ckpt")
    with pytest.raises(ModelUnavailable, match=r"more\.ckpt, weights\.pt"):
        load_classifier(str(folder))


def test_newer_training_configurations_name_the_classes_beside_the_architecture(tiny: Path) -> None:
    def move(content: dict[str, Any]) -> None:
        config = content["config"]
        config["arch"]["args"]["classes"] = config["dataset"]["args"].pop("classes")
        config["arch"]["args"]["identity_classes"] = ["male", "female"]

    labels = load_classifier(str(tiny)).labels
    assert load_classifier(str(resave(tiny, move))).labels == labels


def test_a_planted_pickle_is_refused_and_never_runs(tiny: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    resave(tiny, lambda content: content["config"].update(note=_Planted(trace)))
    with pytest.raises(ModelUnavailable, match=r"tiny\.ckpt: refused, because reading it would run code"):
        load_classifier(str(tiny))
    tiny.write_bytes(pickle.dumps({"config": _Planted(trace), "state_dict": {}}))
    with pytest.raises(ModelUnavailable, match=r"tiny\.ckpt"):
        load_classifier(str(tiny))
    assert not trace.exists()


def test_a_classifiers_own_code_and_pickles_beside_it_are_never_run(tiny: Path, tmp_path: Path) -> None:
    expected = load_classifier(str(tiny)).score(["you are awful"])
    folder, trace = tiny.with_suffix(""), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own: pass\n")
    for name in ("config.json", "tokenizer_config.json"):
        said = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        names = {
            "AutoConfig": "own.Own",
            "AutoTokenizer": ["own.Own", None],
            "AutoModelForSequenceClassification": "own.Own",
        }
        (folder / name).write_text(json.dumps(said | {"auto_map": names}))
    for name in ("pytorch_model.bin", "training_args.bin", "tokenizer.pkl"):
        (folder / name).write_bytes(pickle.dumps(_Planted(trace)))
    assert load_classifier(str(tiny)).score(["you are awful"]) == expected
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "others", "said_of_it"),
    [
        ("config.json", [], "names code to fetch and run"),
        ("config.4.0.0.json", ["config.4.0.0.json"], "configuration_files names other files to read"),
    ],
)
def test_kernels_that_a_classifiers_configuration_names_are_never_fetched(
    tiny: Path, name: str, others: list[str], said_of_it: str
) -> None:
    config = tiny.with_suffix("") / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps(said | {"configuration_files": others}))
    config.with_name(name).write_text(json.dumps(said | {"attn_implementation": "someone/kernel"}))
    with pytest.raises(ModelUnavailable, match=said_of_it):
        load_classifier(str(tiny))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half an archive", b"\x80\x04N.", None])
def test_a_file_that_is_no_checkpoint_is_named(tiny: Path, content: bytes | None) -> None:
    tiny.write_bytes(tiny.read_bytes()[:-5000] if content is None else content)
    with pytest.raises(ModelUnavailable, match=r"tiny\.ckpt: ") as caught:
        load_classifier(str(tiny))
    assert caught.value.exit_code == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("config"), "no 'config' and 'state_dict'"),
        (lambda content: content.pop("state_dict"), "no 'config' and 'state_dict'"),
        (lambda content: content.update(state_dict=[1]), "holds no tensors"),
        (lambda content: content["config"].pop("arch"), "no 'arch.args'"),
        (lambda content: content["config"].update(dataset=3), "no 'dataset.args'"),
        (lambda content: content["config"]["dataset"]["args"].pop("classes"), "names no classes"),
        (lambda content: content["config"]["dataset"]["args"].update(classes=["spam"]), "at least one"),
        (lambda content: content["config"]["arch"]["args"].update(num_classes=3), "more classes than outputs"),
        (lambda content: content["config"]["arch"]["args"].update(num_classes="6"), "'num_classes'"),
        (lambda content: content["config"]["arch"]["args"].pop("model_name"), "'model_name'"),
        (lambda content: content["config"]["arch"]["args"].update(model_name="pipeline"), "names pipeline"),
        (lambda content: content["config"]["arch"]["args"].update(tokenizer_name="logging"), "names logging"),
        (lambda content: content["state_dict"].pop("classifier.weight"), r"1 weights .* classifier\.weight"),
        (lambda content: content["state_dict"].update(extra=torch.ones(1)), "1 weights .* extra"),
        (lambda content: content["state_dict"]["classifier.bias"].fill_(math.nan), r"1 weights .* classifier\.bias"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_what_is_wrong(
    tiny: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ModelUnavailable, match=message):
        load_classifier(str(resave(tiny, change)))


def test_a_configuration_of_another_size_is_named(tiny: Path) -> None:
    config = tiny.with_suffix("") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_size": 32}))
    with pytest.raises(ModelUnavailable, match="cannot be built with the configuration in"):
        load_classifier(str(tiny))


def test_a_tokenizer_of_another_vocabulary_is_named(tiny: Path) -> None:
    with (tiny.with_suffix("") / "vocab.txt").open("a") as vocabulary:
        vocabulary.writelines(f"more{i}\n" for i in range(50))
    with pytest.raises(ModelUnavailable, match=r"tokenizer .* does not fit"):
        load_classifier(str(tiny))


def test_a_configuration_without_a_tokenizer_never_scores_unknown_tokens(tiny: Path) -> None:
    (tiny.with_suffix("") / "vocab.txt").unlink()
    with pytest.raises(ModelUnavailable, match="no tokenizer"):
        load_classifier(str(tiny))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("orignal", "did you mean original"),
        ("unbiased_small", "did you mean unbiased-small"),
        ("quux", "known: original, "),
        ("", "known: original, "),
        ("/no/such/file.ckpt", "no such checkpoint file"),
        ("mine.ckpt", "no such checkpoint file"),
    ],
)
def test_a_name_that_nobody_knows_is_answered_with_a_near_one(name: str, message: str) -> None:
    with pytest.raises(ModelUnavailable, match=message):
        load_classifier(name)


def test_without_a_network_a_missing_base_configuration_is_told_at_once(tiny: Path, dead_hub: None) -> None:
    tiny.with_suffix("").rename(tiny.parent / "gone")
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"'example/.*' is not on this machine, and .* cannot be reached"):
        load_classifier(str(tiny))
    assert time.monotonic() - started < QUICK


def test_a_base_configuration_in_the_hubs_cache_needs_no_network(tiny: Path, dead_hub: None, tmp_path: Path) -> None:
    expected = load_classifier(str(tiny)).score(["you are awful"])
    repository = tmp_path / "hub" / ("models--" + read_checkpoint(tiny).model_type.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots").mkdir()
    tiny.with_suffix("").rename(repository / "snapshots" / ("a" * 40))
    assert load_classifier(str(tiny)).score(["you are awful"]) == expected


def test_a_base_configuration_that_is_no_hub_id_is_told(tiny: Path, dead_hub: None) -> None:
    resave(tiny, lambda content: content["config"]["arch"]["args"].update(model_type="a/b/../c"))
    tiny.with_suffix("").rename(tiny.parent / "gone")
    with pytest.raises(ModelUnavailable, match="no Hub id"):
        load_classifier(str(tiny))


def test_a_published_checkpoint_is_downloaded_once(
    tiny: Path, tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODEL_URLS, "original", f"{serve(tiny.parent)}/{tiny.name}")
    cached = find_checkpoint("original")
    assert cached == tmp_path / "torch" / "hub" / "checkpoints" / tiny.name
    assert cached.read_bytes() == tiny.read_bytes()
    monkeypatch.setitem(MODEL_URLS, "original", f"http://127.0.0.1:9/{tiny.name}")
    assert find_checkpoint("original") == cached
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]


def test_a_download_that_breaks_off_leaves_nothing_behind(
    tiny: Path, tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODEL_URLS, "original", f"{serve(tiny.parent, _Short)}/{tiny.name}")
    with pytest.raises(ModelUnavailable, match=r"could not be downloaded .* after [\d,]+ of [\d,]+ bytes"):
        find_checkpoint("original")
    assert not list((tmp_path / "torch" / "hub" / "checkpoints").iterdir())


def test_a_page_in_place_of_the_file_is_not_kept(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny-0123abcd.ckpt").write_text("<html>please log in</html>")
    monkeypatch.setitem(MODEL_URLS, "original", f"{serve(tmp_path)}/tiny-0123abcd.ckpt")
    with pytest.raises(ModelUnavailable, match="not the file"):
        find_checkpoint("original")
    assert not list((tmp_path / "torch" / "hub" / "checkpoints").iterdir())


def test_a_file_that_is_no_archive_is_kept_where_its_hash_is_that_of_its_name(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"torch's format before 1.6 was no archive"
    name = f"old-{hashlib.sha256(content).hexdigest()[:8]}.ckpt"
    (tmp_path / name).write_bytes(content)
    assert not zipfile.is_zipfile(tmp_path / name)
    monkeypatch.setitem(MODEL_URLS, "original", f"{serve(tmp_path)}/{name}")
    assert find_checkpoint("original").read_bytes() == content


def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(checkpoint_module, "DOWNLOAD_TIMEOUT", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setitem(MODEL_URLS, "original", f"http://127.0.0.1:{silent.getsockname()[1]}/tiny.ckpt")
        started = time.monotonic()
        with pytest.raises(ModelUnavailable, match=r"--safety demo"):
            load_classifier("original")
        assert time.monotonic() - started < QUICK


def test_every_published_name_is_one_that_a_user_may_give() -> None:
    from contract.policy import BUILT_IN_CLASSIFIERS

    assert {*MODEL_URLS, "demo"} == set(BUILT_IN_CLASSIFIERS)


def test_looking_for_a_checkpoint_leaves_the_demo_models_alone() -> None:
    code = "import sys, worker.safety.detoxify;sys.exit('worker.demo' in sys.modules or 'sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
