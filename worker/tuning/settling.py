"""Settling a tuning: the sizes that its choices depend on, and the machine that decides its bits; kept from the first
start, so that a process that goes on makes the same choices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import accelerate
import numpy as np
import psutil
import torch
import transformers

from common.processes import cores
from contract.tunings.order import TuningOrder
from contract.tunings.prepared_corpus import PreparedCorpus
from worker.processor import has_bfloat16, instruction_set, kernel_variables, onednn_version, processor
from worker.tuning.base_model import BaseModel
from worker.tuning.process.events import Events
from worker.tuning.process.folder import TuningFolder, read_json, write_json
from worker.tuning.process.other_device import OtherDevice
from worker.tuning.settled import Settled, Sizes, settle

library: Any = transformers  # untyped


def settled_before(folder: TuningFolder) -> Settled | None:
    """What was settled at the first start; None where this is the first."""
    return Settled.from_json(read_json(folder.settled)) if folder.settled.exists() else None


def check_device(began: Settled | None, device: str, events: Events) -> None:
    """Tells where the tuning belongs, once that is settled.

    Raises:
        OtherDevice: elsewhere.
    """
    if began is None:
        return
    events.say("settled", device=began.order.device)
    if began.order.device != device:
        raise OtherDevice(
            f"this tuning began on {began.order.device}, and goes on there only; here it would run on {device}, so it "
            "is left to another worker"
        )


def settled_order(
    folder: TuningFolder, order: TuningOrder, base: BaseModel, corpus: PreparedCorpus, device: str, events: Events
) -> Settled:
    """What was settled at the first start, or is now."""
    if (began := settled_before(folder)) is not None:
        _compare_machine(began, device, events)
        return began
    sizes = measured_sizes(base, corpus, device)
    threads = order.threads or cores()
    chosen = replace(order, device=device, base_revision=base.revision, threads=threads)
    settled = settle(chosen, sizes, machine(device, threads))
    write_json(folder.settled, settled.to_json())
    events.say("settled", device=device)
    for text in _notes(settled, corpus):
        events.note(text)
    return settled


def _notes(settled: Settled, corpus: PreparedCorpus) -> list[str]:
    order = settled.order
    said = [
        f"{len(corpus.train.tokens):,} tokens to learn from in {settled.blocks:,} blocks of {order.block}; "
        f"{settled.steps:,} steps of {order.tokens_per_update:,} tokens ({settled.epoch(settled.steps):.1f} epochs), "
        f"learning rate {order.learning_rate:g}, {order.dtype}, an evaluation every {settled.evaluate_every:,} steps"
    ]
    if not settled.validation_blocks:
        said.append("there is no validation part: nothing can tell when the model only learns the corpus by heart")
    return said


def _compare_machine(settled: Settled, device: str, events: Events) -> None:
    """Says where the bits will no longer be those of an undisturbed run."""
    here = machine(device, settled.order.threads or cores())
    differing = [name for name in here if here[name] != settled.machine.get(name)]
    if differing:
        named = ", ".join(f"{name} {settled.machine.get(name)!r} was, {here[name]!r} is" for name in differing)
        events.note(f"it goes on with other machinery than it began with, so no longer to the same bits: {named}")


def machine(device: str, threads: int) -> dict[str, Any]:
    """What decides the bits of a training, beside its settings."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {
        "device": name,
        "isa": instruction_set() if device == "cpu" else "",
        "threads": threads,
        "torch": torch.__version__,
        "onednn": onednn_version(),
        "transformers": library.__version__,
        "accelerate": accelerate.__version__,
        "numpy": np.__version__,
        "variables": kernel_variables(),
    }


def measured_sizes(base: BaseModel, corpus: PreparedCorpus, device: str) -> Sizes:
    config = base.network.config.get_text_config()
    on_gpu = device == "cuda"
    return Sizes(
        train_tokens=len(corpus.train.tokens),
        validation_tokens=len(corpus.validation.tokens),
        positions=base.positions,
        parameters=base.network.num_parameters(),
        layers=int(getattr(config, "num_hidden_layers", 12)),
        hidden=int(getattr(config, "hidden_size", 768)),
        vocabulary=base.vocabulary,
        device=device,
        bfloat16=torch.cuda.is_bf16_supported() if on_gpu else has_bfloat16(),
        cores=cores(),
        memory=int(torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available),
    )
