"""Feed mutated files to one reader, and print what was found as one line of JSON.

    python test/fuzz/run.py TARGET [--count 300] [--seconds 60] [--seed 0] [--findings FOLDER] [--record FILE.json]

A finding is an error that is none of this package's, more memory than MORE_MB beside what is loaded, or a file that
takes longer than PATIENCE_S. Ends at the count or after the seconds, whichever is first. TARGET `all` takes each reader
in turn, `--seconds` each. The record, such as docs/fuzzing.json, has the number of files by reader; files of a run
without findings are added to it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

TEST = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TEST.parent), str(TEST), str(TEST / "support")]

from fuzz.mutate import mutated  # noqa: E402
from fuzz.targets import TARGETS  # noqa: E402

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402

MORE_MB = 500
PATIENCE_S = 30.0
MOST_FINDINGS = 20


class HangError(BaseException):
    """A file takes too long; no reader catches it."""


def hang(*_: object) -> None:
    raise HangError


def run(name: str, count: int, seconds: float, seed: int, findings: Path | None) -> dict[str, Any]:
    target = TARGETS[name]
    seeds = target.seeds()
    make = target.make or mutated
    found: list[dict[str, str]] = []
    done = 0
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, hang)
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
        path = Path(folder) / f"a{target.suffix}"
        for honest in seeds:  # loads what is loaded late
            path.write_bytes(honest)
            with contextlib.suppress(GaussianYoloError):
                target.read(path)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (MORE_MB << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        until = time.monotonic() + seconds
        while done < count and time.monotonic() < until and len(found) < MOST_FINDINGS:
            which = f"{name} {seed} {done}"
            data = make(seeds, which)
            path.write_bytes(data)
            done += 1
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
            try:
                target.read(path)
            except GaussianYoloError:
                pass
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                where = traceback.extract_tb(error.__traceback__)[-1]
                told = f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})"
                if told not in [each["error"] for each in found]:
                    found.append({"file": which, "error": told})
                    if findings is not None:
                        (findings / which.replace(" ", "_")).write_bytes(data)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    return {"reader": name, "files": done, "findings": found}


def add(record: Path, result: dict[str, Any]) -> None:
    counts = json.loads(record.read_text()) if record.exists() else {}
    counts[result["reader"]] = counts.get(result["reader"], 0) + result["files"]
    record.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--count", type=int, default=sys.maxsize)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, help="folder for the files that were findings")
    parser.add_argument("--record", type=Path, help="JSON file to add the number of files to")
    arguments = parser.parse_args()
    if arguments.findings is not None:
        arguments.findings.mkdir(parents=True, exist_ok=True)
    if arguments.target != "all":
        values = vars(arguments)
        record = values.pop("record")
        result = run(values.pop("target"), **values)
        print(json.dumps(result), flush=True)
        if record is not None and not result["findings"]:
            add(record, result)
        return
    # Each in its own process, whose limit on memory is its own, and whose death is a finding.
    for name in TARGETS:
        options = [word for word in sys.argv[1:] if word != "all"]
        child = subprocess.run([sys.executable, __file__, name, *options], stdout=subprocess.PIPE, check=False)
        print(child.stdout.decode().strip() or json.dumps({"reader": name, "died": child.returncode}), flush=True)


if __name__ == "__main__":
    main()
