"""The lock of a run folder: a second process is refused, and a dead one's lock is taken over."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from oracle import OraclePrior
from tiny_runs import train_tiny

import dfast
from dfast.errors import RunFolderError
from dfast.runs import lock
from dfast.runs.events import Event
from dfast.runs.lock import LOCK, FolderLock, Owner

HOLD = """
import sys, time
from pathlib import Path
from dfast.runs.lock import FolderLock
folder = FolderLock(Path(sys.argv[1]))
folder.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Any:
    """Another process, which holds the lock of `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


class Unread(OraclePrior):
    """A prior whose use is an error."""

    def encode_prompt(self, *_: object, **__: object) -> None:
        raise AssertionError("the prompt was read")


def test_a_second_process_is_refused_before_any_work(
    other: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RunFolderError) as error:
        train_tiny(out=tmp_path, prior=Unread())
    text = f"out: '{tmp_path}' is in use by another process, {other.pid}"
    assert str(error.value) == text and sorted(tmp_path.iterdir()) == before
    with pytest.raises(RunFolderError, match="is in use by another process"):
        FolderLock(tmp_path).acquire()
    other.kill()
    other.wait()
    assert (tmp_path / LOCK).exists()
    FolderLock(tmp_path).check()
    train_tiny(out=tmp_path)
    assert not (tmp_path / LOCK).exists() and dfast.load(tmp_path).steps == 4


def test_a_run_holds_the_lock_and_may_be_read(tmp_path: Path) -> None:
    out, refused = tmp_path / "run", []

    def second(event: Event) -> None:
        owner = json.loads((out / LOCK).read_text())
        assert owner["pid"] == os.getpid() and owner["host"] == socket.gethostname()
        for resume in (False, True):
            with pytest.raises(RunFolderError, match="is in use by another process") as error:
                train_tiny(out=out, resume=resume, prior=Unread())
            refused.append(str(error.value))
        if event.step == 3:
            assert dfast.load(whole).steps == 4

    whole = tmp_path / "whole"
    train_tiny(out=whole)
    train_tiny(out=out, callbacks=[second])
    assert len(refused) == 8 and not (out / LOCK).exists()
    assert (out / "result.safetensors").read_bytes() == (whole / "result.safetensors").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_lock_is_given_back_whatever_ends_a_run(error: type, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        raise error

    with pytest.raises(error):
        train_tiny(out=tmp_path / "run", callbacks=[stop])
    assert not (tmp_path / "run" / LOCK).exists()


def _write(folder: Path, **changes: Any) -> None:
    values = vars(Owner.this()) | changes
    (folder / LOCK).write_text(json.dumps(values))


def _without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(lock.fcntl, "flock", fail)


def test_a_lock_of_another_host_is_named(tmp_path: Path) -> None:
    _write(tmp_path, host="elsewhere", boot="another", pid=12)
    for use in (FolderLock(tmp_path).acquire, FolderLock(tmp_path).check):
        with pytest.raises(RunFolderError) as error:
            use()
        text = str(error.value)
        assert text.startswith(f"out: '{tmp_path}' is in use by process 12 on the host 'elsewhere'")
        assert text.endswith(f"if that has ended, delete '{tmp_path / LOCK}'")


@pytest.mark.parametrize(
    ("changes", "with_flock", "without_flock"),
    [
        ({}, "stale", "held"),  # this very process, but its lock is free where there is flock
        ({"pid": 2**22 + 1}, "stale", "stale"),
        ({"started": "1"}, "stale", "stale"),  # another process of the same number
        ({"boot": "before the restart"}, "stale", "stale"),
        ({"host": "container", "pid": 1}, "stale", "held"),  # one kernel, other process numbers
        ({"host": "elsewhere", "boot": "another"}, "held", "held"),
    ],
)
@pytest.mark.parametrize("flock", [True, False])
def test_a_stale_lock_is_told_from_a_live_one(
    changes: dict[str, Any],
    with_flock: str,
    without_flock: str,
    flock: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not Path("/proc/sys/kernel/random/boot_id").exists():
        pytest.skip("this system does not say when it started")
    if not flock:
        _without_flock(monkeypatch)
    _write(tmp_path, **changes)
    lock = FolderLock(tmp_path)
    if (with_flock if flock else without_flock) == "held":
        with pytest.raises(RunFolderError, match="is in use by"):
            lock.acquire()
        return
    lock.acquire()
    assert json.loads((tmp_path / LOCK).read_text()) == vars(Owner.this())
    lock.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"pid": "x"}', "[" * 5000, "\0" * 100])
@pytest.mark.parametrize("flock", [True, False])
def test_a_lock_that_names_nobody_is_stale_after_a_while(
    text: str, flock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK).write_text(text)
    if not flock:
        _without_flock(monkeypatch)
        with pytest.raises(RunFolderError, match="is in use by another process"):
            FolderLock(tmp_path).acquire()
        os.utime(tmp_path / LOCK, (time.time() - 60,) * 2)
    held = FolderLock(tmp_path)
    held.acquire()
    held.release()


@pytest.mark.parametrize("flock", [True, False])
def test_one_of_many_gets_the_lock(
    flock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not flock:
        _without_flock(monkeypatch)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # the threads meet at every line
    try:
        for turn in range(30):
            folder = tmp_path / str(turn)
            folder.mkdir()
            _write(folder, pid=2**22 + 1)
            _one_of_many(folder)
    finally:
        sys.setswitchinterval(interval)


def _one_of_many(folder: Path) -> None:
    locks, got = [FolderLock(folder) for _ in range(8)], []

    def take(lock: FolderLock) -> None:
        try:
            lock.acquire()
            got.append(lock)
        except RunFolderError:
            pass

    threads = [threading.Thread(target=take, args=[lock]) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    got[0].release()
    assert list(folder.iterdir()) == []


def test_a_takeover_that_died_half_way_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_flock(monkeypatch)
    _write(tmp_path, pid=2**22 + 1)
    (tmp_path / f"{LOCK}.next").write_bytes((tmp_path / LOCK).read_bytes())
    held = FolderLock(tmp_path)
    held.acquire()
    assert json.loads((tmp_path / LOCK).read_text()) == vars(Owner.this())
    held.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    held = FolderLock(tmp_path)
    held.acquire()
    if (child := os.fork()) == 0:
        time.sleep(30)
        os._exit(0)
    held.forget()  # as if this process had been killed
    try:
        FolderLock(tmp_path).acquire()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    FolderLock(tmp_path).check()
    with pytest.raises(RunFolderError, match="cannot be written"):
        FolderLock(tmp_path).acquire()
