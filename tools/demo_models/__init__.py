"""How the demonstration models in `worker/demo/` were made: texts from a grammar, two models trained on them."""
