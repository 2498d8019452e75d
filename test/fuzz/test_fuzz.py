"""Each reader under mutated files: a few hundred here, a minute's worth in `make test-all`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz.mutate import mutated
from fuzz.targets import TARGETS

RUN = Path(__file__).with_name("run.py")
# Packages that a reader needs beside the package's own.
NEEDS = {"mcap": "rosbags", "sqlite": "rosbags", "ros1": "rosbags", "definition": "rosbags", "recipe": "torch",
         "darknet_cfg": "torch", "darknet_weights": "torch", "checkpoint": "torch", "parquet": "pyarrow"}  # fmt: skip


def fuzz(name: str, *options: str) -> dict[str, Any]:
    needed = NEEDS.get(name, NEEDS.get(name.split("_")[0]))
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    child = subprocess.run([sys.executable, str(RUN), name, *options], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    result: dict[str, Any] = json.loads(child.stdout)
    return result


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_hundred_files(name: str) -> None:
    result = fuzz(name, "--count", "200", "--seconds", "1e9")
    assert result == {"reader": name, "files": 200, "findings": []}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_minute(name: str) -> None:
    result = fuzz(name, "--seconds", "60", "--seed", "1")
    assert result["files"] and result["findings"] == []


def test_the_record_adds_up(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    for count in ("3", "4"):
        fuzz("picture", "--count", count, "--record", str(record))
    assert json.loads(record.read_text()) == {"picture": 7}


def test_the_page_has_the_sum_of_the_record() -> None:
    docs = RUN.parents[2] / "docs"
    counts = json.loads((docs / "fuzzing.json").read_text())
    assert set(counts) == set(TARGETS)
    assert f"{sum(counts.values()):,} mutated files" in (docs / "reliability.md").read_text()


def test_the_same_number_gives_the_same_file() -> None:
    seeds = [b"abc" * 100, b"[1, 2]"]
    files = [mutated(seeds, str(number)) for number in range(200)]
    assert files == [mutated(seeds, str(number)) for number in range(200)]
    assert len(set(files)) > 150 and all(file not in seeds for file in files[:1])


@pytest.mark.parametrize(
    ("reader", "word"),
    [
        ("raise ValueError('odd')", "ValueError: odd"),
        ("bytes(1 << 30)", "MemoryError"),
        ("time.sleep(60)", "HangError"),
    ],
)
def test_what_counts_as_a_finding(reader: str, word: str) -> None:
    program = (
        f"import sys, time; sys.path.insert(0, {str(RUN.parents[1])!r})\n"
        "from fuzz import run\n"
        "def read(path):\n"
        f"    if path.read_bytes() != b'seed': {reader}\n"
        "run.PATIENCE_S = 0.2\n"
        "run.TARGETS['own'] = run.TARGETS['picture'].__class__(lambda: [b'seed'], read)\n"
        "print(run.json.dumps(run.run('own', 5, 1e9, 0, None)))\n"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    (finding,) = json.loads(child.stdout)["findings"]
    assert finding["error"].startswith(word)
