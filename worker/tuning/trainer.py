"""transformers' Trainer, with a loss and a validation of blocks, and with checkpoints that count by their marker.

The Trainer's own defaults are overridden where they would lose tokens, bits or errors; each place says which.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, SequentialSampler

from worker.tuning.blocks import IGNORED, Block, Blocks, learned, stacked
from worker.tuning.checkpoints import Checkpoints
from worker.tuning.process.events import Events
from worker.tuning.settled import Settled

library: Any = transformers  # untyped


def arguments(settled: Settled, output: Path, *, validated: bool) -> Any:
    """The Trainer's settings."""
    order = settled.order
    return library.TrainingArguments(
        output_dir=str(output),
        seed=order.seed % 2**32,
        use_cpu=order.device == "cpu",
        max_steps=settled.steps,
        per_device_train_batch_size=order.rows,
        per_device_eval_batch_size=order.rows,
        gradient_accumulation_steps=settled.accumulation,
        optim="adamw_torch_fused",
        learning_rate=order.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round((order.warmup or 0) * settled.steps),
        weight_decay=order.weight_decay,
        activation_checkpointing=bool(order.gradient_checkpointing),
        logging_strategy="steps",
        logging_steps=settled.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is no number shall be seen
        eval_strategy="steps" if validated else "no",
        eval_steps=settled.evaluate_every,
        metric_for_best_model="loss" if validated else None,
        greater_is_better=False if validated else None,
        save_strategy="steps",
        save_steps=settled.evaluate_every,
        save_total_limit=None,  # `Checkpoints` removes old ones, once a newer one counts
        restore_callback_states_from_checkpoint=True,  # early stopping's patience
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        log_level="error",
        report_to="none",
    )


class TuningTrainer(library.Trainer):  # type: ignore[misc]
    """Trains on `Blocks`."""

    control: Any

    def __init__(
        self,
        network: Any,
        settled: Settled,
        checkpoints: Checkpoints,
        events: Events,
        *,
        train: Blocks,
        validation: Blocks | None,
        callbacks: list[Any],
    ) -> None:
        super().__init__(
            network,
            arguments(settled, checkpoints.folder, validated=validation is not None),
            data_collator=stacked,
            train_dataset=train,
            eval_dataset=validation,
            callbacks=callbacks,
        )
        self.remove_callback(library.PrinterCallback)
        self.model_accepts_loss_kwargs = True  # our loss is that of the whole update already
        self._bf16 = settled.order.dtype == "bf16"
        self._checkpoints, self._events = checkpoints, events
        self._began = time.monotonic()
        self.tokens_seen, self.seconds = 0, 0.0  # of this process; the seconds without validation and saving

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """`Blocks` are in their order already."""
        return SequentialSampler(self.train_dataset)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Block], Any]:
        """The micro-batches of an update, and how many tokens are learned from them; the Trainer's own count would be
        of labels that are shifted later."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._began = time.monotonic()
        count = sum(map(learned, batches))
        self.tokens_seen += count
        return batches, torch.tensor(max(count, 1), device=device)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Comes after every update: the clock stands still meanwhile."""
        self.seconds += time.monotonic() - self._began
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self._began = time.monotonic()

    def compute_loss(
        self, model: Any, inputs: Block, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """A micro-batch's part of the mean over all tokens of its update."""
        loss: torch.Tensor = self._nll(model, inputs) / num_items_in_batch
        return loss

    def _nll(self, model: Any, inputs: Block) -> torch.Tensor:
        """The negative log-likelihood of a micro-batch's tokens, summed, in float32."""
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self._bf16):
            logits = model(input_ids=inputs["input_ids"], use_cache=False).logits  # [rows, block, vocabulary]
        labels = inputs["labels"].flatten()
        return cross_entropy(logits.flatten(0, 1).float(), labels, ignore_index=IGNORED, reduction="sum")

    def evaluation_loop(
        self,
        dataloader: DataLoader[Block],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """The mean over all tokens. The Trainer's would be one over micro-batches, without those that are no number."""
        model = self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for inputs in dataloader:
                total += float(self._nll(model, self._prepare_inputs(inputs)))
                count += learned(inputs)
                self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        loss = total / max(count, 1)
        blocks = len(dataloader.dataset)  # type: ignore[arg-type]
        return library.trainer_utils.EvalLoopOutput(None, None, {f"{metric_key_prefix}_loss": loss}, blocks)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with self._events.busy():
            super()._save_checkpoint(model, trial)
            self._checkpoints.seal(self.state.global_step)
