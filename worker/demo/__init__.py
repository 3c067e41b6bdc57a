"""Where the two demonstration models lie: a small GPT-2 and a small classifier.

Paths only. Loading them is the engine's and the scorer's work, so nothing here imports torch.
"""

from pathlib import Path

DEMO_DIR = Path(__file__).resolve().parent

GPT2_DIR = DEMO_DIR / "gpt2"
CLASSIFIER_PATH = DEMO_DIR / "classifier" / "demo.ckpt"
