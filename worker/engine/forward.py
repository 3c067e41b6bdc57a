"""What goes into a forward pass and what comes out of it, whichever device computes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """What one forward pass computes: tokens of prompts and newly sampled ones alike.

    A sequence's rows stand together, in order of position, and all positions before them were computed.
    """

    tokens: Indices  # [rows]
    positions: Indices  # [rows]
    slots: Indices  # [rows]: the sequence of each
    wanted: Indices  # [outputs]: the rows after which a token will be sampled


@dataclass(frozen=True, slots=True)
class Logits:
    """The logit of token t in row r is values[r, t] * scales[r] + offsets[r].

    bfloat16 has 8 bits, and GPT-2's logits lie around -100, where neighbouring bfloat16 numbers are 0.5
    apart. With their mean kept apart they lie around 0.
    """

    values: torch.Tensor  # [rows, vocabulary], float32 or bfloat16
    offsets: npt.NDArray[np.float32]  # [rows]
    scales: npt.NDArray[np.float32] | None = None  # [rows]; None where they are 1
