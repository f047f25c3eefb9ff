"""The simulation of docs/scale.md keeps to the pool's rules, and its tables say what was measured."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.conftest import load_tool


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_tool("scaling")
    monkeypatch.setattr(module, "SHARD", 256 * 40 * 64)
    return module


def test_actors_that_are_alike_are_busy_to_the_end(tool: ModuleType) -> None:
    took = tool.simulate(tool.Case(""), [0.1])
    assert took == pytest.approx(40 * 25.6)
    mixed = tool.simulate(tool.Case(""), [0.05, 0.15])
    assert took < mixed < 1.05 * took


def test_a_slow_actor_holds_the_others_up_only_where_its_block_is_not_given_to_another(tool: ModuleType) -> None:
    alike, slow, alone = (
        tool.simulate(case, [0.1])
        for case in (tool.Case(""), tool.Case("", 1, 50), tool.Case("", 1, 50, doubles=False))
    )
    assert alike < slow < 1.5 * alike
    assert alone > 3 * slow
    # Within the window nobody waits.
    assert tool.simulate(tool.Case("", 1, 4), [0.1]) < 1.1 * alike


def test_failures_cost_their_blocks_and_the_time_to_come_back(tool: ModuleType) -> None:
    alike, failing = (tool.simulate(tool.Case("", failures=rate), [0.1]) for rate in (0.0, 6.0))
    assert 1.05 * alike < failing < 1.5 * alike


def test_the_tables(tool: ModuleType) -> None:
    row = {"what": "process", "threads": 1, "actors": 0, "seconds": 10.0, "cpu_seconds": 8.0, "puzzles": 100}
    document = {
        "rows": [
            row,
            {**row, "what": "actors", "actors": 2, "seconds": 8.0, "cpu_seconds": 10.0, "start_seconds": 6.4},
        ],
        "driver": {"passed_a_second": 10_000.0, "resumed_a_second": 12_000.0},
        "bytes_in": 82.0,
        "bytes_out": 300.0,
    }
    assert tool.measured_rows(document) == [
        ["`run`, 1 thread", "10.0", "12.5", "1.00", "-"],
        ["2 actors", "12.5", "20.0", "1.60", "6 s"],
    ]
    # 64 cores of 10 puzzles a second: 640, and a billion of them take 434 hours.
    assert tool.billion_rows(document)[0] == ["1", "640", "18 days", 1]
    assert tool.billion_rows(document)[3] == ["1,000", "640,000", "26 minutes", 64]
    assert tool.driver_rows(document)[3] == ["bytes of its answer", "300 (10^9: 300 GB)"]
