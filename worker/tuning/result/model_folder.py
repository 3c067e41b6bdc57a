"""The finished model's folder: weights in float32, the base's tokenizer, what was measured; whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contract.model_kinds import adapter
from contract.model_kinds.model_folders import weights_files
from contract.model_kinds.own_model import DESCRIPTION
from contract.tunings.prepared_corpus import PreparedCorpus
from worker.engine.load.adapter import merged
from worker.engine.load.checkpoint import Checkpoint as ModelFiles
from worker.engine.load.from_transformers import read_network
from worker.evaluation.copied import FOLDER, CopiedIndex
from worker.tuning.base_model import BaseModel, copy_companions
from worker.tuning.checkpoints import Checkpoint, Checkpoints
from worker.tuning.process.events import Events
from worker.tuning.process.folder import TuningFolder, sync_tree, write_json
from worker.tuning.result.card import Card
from worker.tuning.result.measuring import Measured, Prompt, measure
from worker.tuning.samples import draw
from worker.tuning.settled import Settled

COPY_SAMPLES, COPY_LENGTH = 32, 128
COPIED_TEXT = 400  # characters of the longest copy that are shown
ANOTHER_SEED = 1
"""So that these samples are not those of the evaluations."""


def finish(
    folder: TuningFolder,
    settled: Settled,
    base: BaseModel,
    corpus: PreparedCorpus,
    prompts: list[Prompt],
    before: Measured,
    best: Checkpoint,
    events: Events,
) -> None:
    """Makes the folder `result` and the marker beside it, from the checkpoint that is to be kept."""
    place = folder.unfinished_result
    for old in (place, folder.result):  # without the marker, what lies there was cut short
        shutil.rmtree(old, ignore_errors=True)
    place.mkdir()
    with events.busy():
        network = trained_network(base, best).to(settled.order.device)
        network.save_pretrained(str(place))
        copy_companions(base, place)
    after = measure(network, base, corpus, prompts, settled, events)
    with events.busy():
        copied = _copied(network, base, corpus, settled, place, events)
    card = Card(
        settled=settled, base_revision=base.revision, corpus=corpus, before=before, after=after, copied=copied,
        best_step=best.step, history=_history(folder, best),
    )  # fmt: skip
    (place / "README.md").write_text(card.text(), encoding="utf-8")
    write_json(place / DESCRIPTION, description(settled, base, corpus, before, after, copied, best))
    (place / "model.safetensors").chmod((place / "README.md").stat().st_mode)  # safetensors lets nobody else read it
    sync_tree(place)
    place.rename(folder.result)
    write_json(folder.finished, {"best_step": best.step})
    if before.perplexity and after.perplexity and after.perplexity >= before.perplexity:
        events.note(
            f"on the validation part the new model is no better than its base (perplexity {after.perplexity:.2f}, "
            f"before {before.perplexity:.2f}); try a smaller learning rate, or a larger corpus"
        )


def trained_network(base: BaseModel, best: Checkpoint) -> Any:
    """The network with the weights of a checkpoint; an adapter is merged into the base."""
    present = [path.name for path in best.folder.iterdir()]
    if adapter.CONFIG in present:
        files = ModelFiles(best.folder, (adapter.WEIGHTS,), (adapter.CONFIG,), base.checkpoint)
        return merged(base.network, files)
    return read_network(ModelFiles(best.folder, weights_files(best.folder, present), ("config.json",)))


def _history(folder: TuningFolder, best: Checkpoint) -> list[dict[str, Any]]:
    """All that was logged, beyond the best checkpoint too."""
    last = Checkpoints(folder.checkpoints).last() or best
    return list(last.state["log_history"])


def _copied(
    network: Any, base: BaseModel, corpus: PreparedCorpus, settled: Settled, place: Path, events: Events
) -> dict[str, Any]:
    """What samples of the new model repeat of the training text, JSON-ready."""
    index = CopiedIndex.build(
        corpus.train.tokens,
        place / FOLDER,
        corpus.train.documents,
        [file.name for file in corpus.files],
        events.alive,
    )
    texts = draw(
        network, [corpus.end_of_text], count=COPY_SAMPLES, length=COPY_LENGTH, end_of_text=corpus.end_of_text,
        positions=base.positions, seed=settled.order.seed + ANOTHER_SEED,
    )  # fmt: skip
    copies = index.copies(texts)
    found = index.place(copies.longest.position) if copies.longest.length else None
    shown = index.tokens(copies.longest.position, copies.longest.length) if copies.longest.length else []
    return {
        "samples": copies.texts,
        "tokens_each": COPY_LENGTH,
        "longest": copies.longest.length,
        "long_runs": copies.long_runs,
        "share": copies.share,
        "file": found.file if found else None,
        "record": found.record if found else None,
        "text": base.tokenizer.decode(shown)[:COPIED_TEXT],
    }


def description(
    settled: Settled,
    base: BaseModel,
    corpus: PreparedCorpus,
    before: Measured,
    after: Measured,
    copied: dict[str, Any],
    best: Checkpoint,
) -> dict[str, Any]:
    """What that file holds, JSON-ready. The version is for the one who keeps the model to give."""
    return {
        "name": settled.order.name,
        "version": None,
        "base": settled.order.base,
        "base_revision": base.revision,
        "corpus": [asdict(file) for file in corpus.files],
        "perplexity_before": before.perplexity,
        "perplexity_after": after.perplexity,
        "perplexity_tokens": after.tokens,
        "settings": settled.order.to_json() | {"steps": settled.steps, "epochs": settled.epoch(settled.steps)},
        "best_step": best.step,
        "dtype": "float32",
        "machine": settled.machine,
        "copied": copied,
    }
