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
        network: of transformers, float32, on the CPU. It is changed, even where it gets no model.
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
    earned: list[Decoder] = []

    def tried() -> str | None:
        try:
            reference = Reference(network)
            earned.append(Decoder(network, dtype))
            return verdict(earned[0], reference)
        except Unsupported as reason:
            return str(reason)
        except Exception as error:  # whatever a model's code says of being run in another way
            if out_of_memory(error):
                raise
            return f"its trial failed ({type(error).__name__}: {error})"

    kind = (revision(), transformers.__version__, dtype, torch.get_num_threads())
    reason = kept_result("trial", kind, tried, lambda known: known is None or isinstance(known, str))
    if reason is not None:
        raise Unsupported(reason)
    return earned[0] if earned else Decoder(network, dtype)
