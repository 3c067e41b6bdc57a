"""The table of the engines' figures says what the rounds said."""

from __future__ import annotations

import pytest

from bench.engine_table import Round, print_table
from bench.engines import Engine, Result
from bench.workloads import Workload

OURS = Engine(name="ours-bf16", dtype="bf16", module="bench.ours")
PEERS = [Engine(name=name, dtype=dtype, module="bench.peers.some") for name, dtype in
         (("quick", "bf16"), ("slow", "bf16"), ("other", "int8"))]  # fmt: skip
WORK = Workload(name="w1", prompts=((1, 2),), lengths=(4,))  # 1.34 GFLOP


def a_round(**speeds: float) -> Round:
    names = {"ours": "ours-bf16"}
    results = {
        names.get(name, name): Result(version="1", speed={"w1": speed}, peak_mb=100, other_cores=0)
        for name, speed in speeds.items()
    }
    return Round(results=results, ceilings={"bf16": 134e9, "int8": 268e9})


def table(capsys: pytest.CaptureFixture[str], *rounds: Round) -> dict[str, list[str]]:
    print_table([OURS, *PEERS], [WORK], rounds)
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    return {line[0]: [cell.strip() for cell in line[1:]] for line in lines[2:]}


def test_a_ratio_is_to_the_fastest_peer_of_the_same_dtype(capsys: pytest.CaptureFixture[str]) -> None:
    found = table(capsys, a_round(ours=200, quick=100, slow=50, other=400))
    assert [found[name][3] for name in ("ours-bf16", "quick", "slow", "other")] == ["2.00", "1.00", "0.50", "1.00"]


def test_ratios_are_taken_within_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    # The machine was three times slower in the second round, for both.
    found = table(capsys, a_round(ours=300, quick=100), a_round(ours=100, quick=33.3333))
    assert found["ours-bf16"][3] == "3.00"
    assert found["ours-bf16"][1] == "200 (100–300)"


def test_a_share_is_of_what_the_products_alone_would_allow(capsys: pytest.CaptureFixture[str]) -> None:
    # 4 tokens of 1.34 GFLOP at 134 GFLOP/s: 400 tokens a second.
    assert table(capsys, a_round(ours=100))["ours-bf16"][4] == "25%"


def test_an_engine_that_never_ran_has_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert "slow" not in table(capsys, a_round(ours=100, quick=100))
