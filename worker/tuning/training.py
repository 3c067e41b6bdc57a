"""One tuning from its order to its model: load, settle, measure, train, finish; each part is passed over where it is
done already."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers

from contract.errors import UsageError
from contract.tunings.order import TuningOrder
from contract.tunings.prepared_corpus import PreparedCorpus
from worker.engine.load.loading import select_device
from worker.tuning.base_model import BaseModel, check_packages, load_base, set_dropout, with_adapter
from worker.tuning.blocks import Blocks
from worker.tuning.callbacks import Reporter, Samples
from worker.tuning.checkpoints import Checkpoint, Checkpoints
from worker.tuning.process.events import Events
from worker.tuning.process.folder import TuningFolder, read_json, write_json
from worker.tuning.process.interruption import Interruption
from worker.tuning.result.measuring import Measured, fixed_prompts, measure, sampled
from worker.tuning.result.model_folder import finish
from worker.tuning.settled import Settled
from worker.tuning.settling import check_device, settled_before, settled_order
from worker.tuning.trainer import TuningTrainer

library: Any = transformers  # untyped


def train(folder: TuningFolder, events: Events, interruption: Interruption) -> None:
    """
    Raises:
        ModelUnavailable: the base model cannot be had, or there is no such device.
        OtherDevice: it began on another kind of device, and goes on there only.
        UsageError: the order or the corpus cannot be used.
        Interrupted: SIGTERM came.
        Exception: whatever keeps a library from its work.
    """
    if folder.finished.exists():
        return
    order = TuningOrder.from_json(read_json(folder.order))
    check_packages(order)
    began = settled_before(folder)
    if began is not None:  # it began with that very base, which an adapter needs
        order = replace(order, base_revision=began.order.base_revision)
    device = device_kind(order.device, None if began is None else began.order.device)
    check_device(began, device, events)
    corpus = PreparedCorpus.open(folder.corpus)
    base = load_base(order)
    check_tokens(corpus, base)
    settled = settled_order(folder, order, base, corpus, device, events)
    _Training(folder, settled, base, corpus, events, interruption).run()


def device_kind(asked: str, began_on: str | None) -> str:
    """Where to train: where it is asked for, else where it began, as far as that is here, else where it is fastest.

    Args:
        asked: "auto", "cpu", "cuda" or "cuda:N".
        began_on: "cpu" or "cuda"; None = it begins now.

    Raises:
        ModelUnavailable: what is asked for is not here.
    """
    kind = asked.partition(":")[0]
    return select_device("cpu" if kind == "auto" and began_on == "cpu" else kind).type


class _Training:
    """Its parts, and what all of them need."""

    def __init__(
        self,
        folder: TuningFolder,
        settled: Settled,
        base: BaseModel,
        corpus: PreparedCorpus,
        events: Events,
        interruption: Interruption,
    ) -> None:
        self.folder, self.settled, self.base, self.corpus = folder, settled, base, corpus
        self.events, self.interruption = events, interruption
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.prompts = fixed_prompts(settled, base, corpus)

    def run(self) -> None:
        torch.set_num_threads(self.settled.order.threads or 1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.checkpoints.remove_torn()
        before = self._before()
        last = self.checkpoints.last()
        if last is None or not last.ended:
            self._train(last)
        best = self.checkpoints.best()
        assert best is not None
        base = load_base(self.settled.order) if self.settled.order.lora_rank else self.base
        finish(self.folder, self.settled, base, self.corpus, self.prompts, before, best, self.events)
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)

    def _before(self) -> Measured:
        """What the base is worth, measured once."""
        if self.folder.before.exists():
            return Measured.from_json(read_json(self.folder.before))
        network = self.base.network.to(self.settled.order.device)
        measured = measure(network, self.base, self.corpus, self.prompts, self.settled, self.events)
        write_json(self.folder.before, measured.to_json())
        self.events.say("samples", step=0, samples=measured.samples)
        return measured

    def _train(self, last: Checkpoint | None) -> None:
        library.set_seed(self.settled.order.seed % 2**32)  # an adapter's first weights are drawn
        network = self._network()
        trainer = self._trainer(network)
        with self.interruption.deferred():
            if last is not None:
                self.events.note(f"goes on from the checkpoint of step {last.step:,}")
            elif trainer.eval_dataset is not None:
                trainer.evaluate()
            trainer.train(resume_from_checkpoint=None if last is None else str(last.folder))
        del trainer, network
        gc.collect()  # the moments take twice the room of the weights, and the result is read beside them

    def _network(self) -> Any:
        network, order = self.base.network, self.settled.order
        set_dropout(network, order.dropout or 0.0)
        return with_adapter(network, order.lora_rank) if order.lora_rank else network

    def _trainer(self, network: Any) -> TuningTrainer:
        pace: list[TuningTrainer] = []
        reporter = Reporter(
            self.settled,
            self.events,
            self.interruption,
            samples=lambda: self._samples(network),
            pace=lambda: (pace[0].tokens_seen, pace[0].seconds),
        )
        use_cache = network.config.use_cache
        trainer = TuningTrainer(
            network,
            self.settled,
            self.checkpoints,
            self.events,
            train=self._blocks(),
            validation=self._validation(),
            callbacks=[*self._early_stopping(), reporter],
        )
        network.config.use_cache = use_cache  # the Trainer's False would stay in the model's configuration
        pace.append(trainer)
        return trainer

    def _samples(self, network: Any) -> Samples:
        return sampled(network, self.base, self.corpus, self.prompts, self.settled.order.seed)

    def _early_stopping(self) -> Sequence[Any]:
        patience = self.settled.order.patience
        return [library.EarlyStoppingCallback(patience)] if patience and self.settled.validation_blocks else []

    def _blocks(self) -> Blocks:
        settled = self.settled
        return Blocks(
            self.corpus.train,
            block=settled.order.block or 1,
            count=settled.steps * settled.blocks_per_update,
            seed=settled.order.seed,
            filler=self.corpus.end_of_text,
        )

    def _validation(self) -> Blocks | None:
        settled = self.settled
        if not settled.validation_blocks:
            return None
        return Blocks(
            self.corpus.validation,
            block=settled.order.block or 1,
            count=settled.validation_blocks,
            seed=None,
            filler=self.corpus.end_of_text,
        )


def check_tokens(corpus: PreparedCorpus, base: BaseModel) -> None:
    """
    Raises:
        UsageError: the corpus' tokens are not those of the base.
    """
    if (found := base.tokenizer_digest()) not in (None, corpus.tokenizer):
        raise UsageError(
            f"the corpus was prepared with another tokenizer (SHA-256 {corpus.tokenizer[:12]}…) than the base model "
            f"has now ({found[:12]}…): its files were replaced since; prepare the corpus once more, with the same "
            "command and --again"
        )
    if corpus.vocabulary > base.vocabulary:
        raise UsageError(
            f"the corpus was prepared for a vocabulary of {corpus.vocabulary:,} tokens, and the base model has "
            f"{base.vocabulary:,}; prepare it once more with the base's own tokenizer"
        )
