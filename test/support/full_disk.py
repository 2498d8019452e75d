"""Runs commands whose output folder is a full disk: a tmpfs in a namespace of its own, or a limit on the size of files.

As a program it is the process in which the commands run: one request per line on its input, one answer on its output.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

PAD, PAGE = ".pad", 4096


class FullDisk:
    """A process that runs commands of `gaussian-yolo` one after the other, each on a disk that becomes full.

    Attributes:
        is_tmpfs: whether the disk is one; else a limit on the size of each file stands for it.
    """

    def __init__(self) -> None:
        namespace = ["unshare", "-rm"]
        trial = ["sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        try:
            self.is_tmpfs = not subprocess.run([*namespace, *trial], capture_output=True, check=False).returncode
        except FileNotFoundError:
            self.is_tmpfs = False
        command = [*(namespace if self.is_tmpfs else []), sys.executable, __file__, str(int(self.is_tmpfs))]
        repository = Path(__file__).resolve().parents[2]
        path = f"{repository}:{os.environ.get('PYTHONPATH', '')}"
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )

    def run(self, words: Sequence[object], folder: Path, free: int) -> tuple[int, str, list[str]]:
        """Run a command; returns its exit code, what it printed, and the files that it left below `folder`.

        Args:
            words: of the command.
            folder: the disk, an empty folder.
            free: bytes before it is full.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"words": list(map(str, words)), "folder": str(folder), "free": free}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "the process of the full disk has died"
        answer: dict[str, Any] = json.loads(line)
        return answer["code"], answer["printed"], answer["files"]

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()


def serve(tmpfs: bool) -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(request["folder"])
        if tmpfs:
            size = f"size={request['free'] + PAGE}"  # 0 would be no limit
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
            (folder / PAD).write_bytes(b"0" * PAGE)
        try:
            code, printed = run(request["words"], None if tmpfs else request["free"])
            files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if not path.is_dir()]
        finally:
            if tmpfs:
                subprocess.run(["umount", "-l", folder], check=True)
        answer = {"code": code, "printed": printed, "files": [file for file in files if file != PAD]}
        print(json.dumps(answer), file=answers, flush=True)


def run(words: list[str], limit: int | None) -> tuple[int, str]:
    """Exit code and output, of C++ too, of a command whose files may not be larger than `limit` bytes."""
    from gaussian_yolo_node.commands.__main__ import main

    sys.argv = ["gaussian-yolo", *words]
    reading, writing = os.pipe()
    kept = [os.dup(number) for number in (1, 2)]
    chunks: list[bytes] = []
    reader = threading.Thread(target=lambda: chunks.extend(iter(lambda: os.read(reading, 65536), b"")))
    reader.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)
    try:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        reader.join()
        os.close(reading)
    return code, b"".join(chunks).decode(errors="replace")


if __name__ == "__main__":
    serve(sys.argv[1] == "1")
