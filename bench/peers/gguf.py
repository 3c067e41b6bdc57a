"""A GGUF file with its weights in another type, by llama.cpp: `python -m bench.peers.gguf bf16|q8_0 FILE TARGET`."""

from __future__ import annotations

import sys
from pathlib import Path

import llama_cpp

TYPES = {"bf16": llama_cpp.LLAMA_FTYPE_MOSTLY_BF16, "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}


def main() -> None:
    kind, source, target = sys.argv[1:]
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.allow_requantize = TYPES[kind], True
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if code := llama_cpp.llama_model_quantize(source.encode(), target.encode(), settings):
        sys.exit(f"llama.cpp cannot write {source} as {kind}: {code}")


if __name__ == "__main__":
    main()
