"""The order of a tuning: what it holds survives its file, and values that cannot be used are named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract.errors import SettingsError
from contract.tunings.order import TuningOrder


def test_an_order_survives_its_file() -> None:
    order = TuningOrder(name="tales", base="gpt2", epochs=2.5, sample_prompts=("Once", "Zoë"), lora_rank=8)
    assert TuningOrder.from_json(json.loads(order.to_text())) == order


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epochs": 1, "steps": 5}, "steps: and epochs exclude each other"),
        ({"learning_rate": 3}, "learning_rate: is 3; use 0 to 1"),
        ({"learning_rate": float("nan")}, "learning_rate: is nan"),
        ({"epochs": 0}, "epochs: is 0; give more"),
        ({"dtype": "int8"}, "dtype: is 'int8'; a model is trained in auto, fp32, bf16"),
        ({"seed": -1}, "seed: is -1"),
        ({"colour": "red"}, "colour: is unknown"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        TuningOrder.from_json({"name": "tales", "base": "demo"} | values)
