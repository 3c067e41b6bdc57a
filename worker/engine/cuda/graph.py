"""A function of one tensor, recorded once as a CUDA graph and replayed: one launch instead of hundreds.

What the function computes is not known here.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import torch

log = structlog.get_logger()

Function = Callable[[torch.Tensor], torch.Tensor]


class Graph:
    """A recorded function. Its result is the same memory each time."""

    def __init__(self, function: Function, example: torch.Tensor) -> None:
        """Run it on the example, so that its kernels are compiled, and record it.

        Raises:
            RuntimeError: something in it fails, or cannot be recorded.
        """
        self._input = example.clone()
        function(self._input)
        self._graph = torch.cuda.CUDAGraph()
        # The scorer's thread may allocate memory meanwhile, which "global" would report as an error.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._result = function(self._input)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        self._input.copy_(inputs)
        self._graph.replay()
        return self._result


def record(function: Function, example: torch.Tensor) -> Function:
    """The function as a graph; where that fails, as it is, with a warning.

    Raises:
        torch.OutOfMemoryError: there is no memory for it.
    """
    try:
        return Graph(function, example)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        log.warning("the forward pass runs without a CUDA graph, which is slower", reason=str(error))
        return function
