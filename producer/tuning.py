"""A corpus and an order become a tuning: rows in SQL first, hints in Redis after that."""

from __future__ import annotations

import json
from collections.abc import Iterator

from contract.tunings.order import TuningOrder
from contract.tunings.prepared_corpus import PreparedCorpus
from db.session.engine import Database
from db.tuning.tunings import NewTuning, StoredTuning, TuningSource, find_tuning, insert_tuning

KINDS = ("cpu", "cuda")
"""The kinds of devices, each with a queue of its own."""


def submit_tuning(
    database: Database, order: TuningOrder, corpus: PreparedCorpus, folder: str, owner: str | None
) -> StoredTuning:
    """Stores a tuning whose corpus is prepared; workers may claim it from then on.

    Args:
        folder: its name under INKMILL_MODELS.
        owner: the installation whose stack may end it; None = none may.
    """
    new = NewTuning(
        name=order.name, base=order.base, device=order.device, dtype=order.dtype, order=order.to_json(), folder=folder,
        owner=owner,
    )  # fmt: skip
    return find_tuning(database, insert_tuning(database, new, _sources(corpus)))


def _sources(corpus: PreparedCorpus) -> Iterator[TuningSource]:
    """The outputs that a corpus from a job teaches, or measures by."""
    if corpus.outputs is None:
        return
    used = _used_outputs(corpus)
    with corpus.outputs.open() as lines:
        for line in lines:
            said = json.loads(line)
            if said["output"] in used:
                yield TuningSource(
                    output_id=said["output"], revision=said["revision"], decision_id=said.get("decision")
                )


def _used_outputs(corpus: PreparedCorpus) -> set[int]:
    """Those of which there is a document: the others were empty, the same as another text, or could not be used."""
    job = max(index for index, file in enumerate(corpus.files) if file.name == f"job {corpus.job}")
    used: set[int] = set()
    for part in (corpus.train, corpus.validation):
        used.update(part.documents[part.documents[:, 1] == job, 2].tolist())
    return used


def queue_tuning_hints(database: Database, tuning: StoredTuning) -> str | None:
    """Tells the workers that may train it. Returns why Redis does not take the messages; None if it does."""
    from contract.errors import QueueUnreachable
    from contract.queue import top_up, tune_queue

    kinds = KINDS if tuning.device == "auto" else (tuning.device,)
    try:
        for kind in kinds:
            top_up(tune_queue(kind), [tuning.id])
    except QueueUnreachable as error:
        return str(error)
    return None
