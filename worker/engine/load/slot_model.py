"""Which of the slot engine's models serves a network: GPT-2's own, or the one for any, which has to earn it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

from worker.engine.compiled.kept_results import kept_result
from worker.engine.cpu import gpt2
from worker.engine.cuda.gpt2 import CudaGPT2
from worker.engine.decoder.decoder import Decoder
from worker.engine.decoder.survey import Unsupported
from worker.engine.decoder.trial import Reference, verdict
from worker.engine.memory_blame import out_of_memory

SlotModel = gpt2.GPT2 | CudaGPT2 | Decoder


def slot_model(network: Any, dtype: str, device: torch.device, revision: Callable[[], str]) -> SlotModel:
    """
    Args:
        network: of transformers, float32, on the CPU. It belongs to the model then.
        revision: names its weights.

    Raises:
        Unsupported: none can serve it; it completes "because".
    """
    if getattr(network.config, "quantization_config", None):
        raise Unsupported("it is quantised")
    if gpt2.supports(network.config):
        config, weights = network.config, network.state_dict()
        network.to("meta")  # transformers' models are cycles, which would keep the weights until garbage is collected
        return CudaGPT2(config, weights, dtype, device) if device.type == "cuda" else gpt2.GPT2(config, weights, dtype)
    if device.type == "cuda":
        raise Unsupported("on a GPU only GPT-2 has slots")
    return _decoder(network, dtype, revision)


def _decoder(network: Any, dtype: str, revision: Callable[[], str]) -> Decoder:
    """The model, tried once for each revision, machine, version, dtype and number of threads."""
    trial = _Trial(network, dtype)
    kind = (revision(), transformers.__version__, dtype, torch.get_num_threads())
    try:
        reason = kept_result("trial", kind, trial.verdict, lambda known: known is None or isinstance(known, str))
    except Exception as error:  # whatever a model's code says of being run in another way, or what lacks for a moment
        if out_of_memory(error):
            raise
        reason = f"its trial failed ({type(error).__name__}: {error})"
    if reason is None:
        return trial.decoder or Decoder(network, dtype)
    refusal = Unsupported(reason)
    refusal.spent = trial.began
    raise refusal


class _Trial:
    """What is done the first time."""

    def __init__(self, network: Any, dtype: str) -> None:
        self._network, self._dtype = network, dtype
        self.decoder: Decoder | None = None
        self.began = False  # to change the network

    def verdict(self) -> str | None:
        try:
            reference = Reference(self._network)
            self.began = True
            self.decoder = Decoder(self._network, self._dtype)
        except Unsupported as reason:
            return str(reason)
        return verdict(self.decoder, reference)
