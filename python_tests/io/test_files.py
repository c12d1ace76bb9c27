"""Places to write: modes, links, `~`, devices, places that refuse niceties, leftovers."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dfast import _files
from dfast._files import read_text, replacing, sweep, user_path
from dfast.config import Config
from dfast.errors import ExportError
from dfast.io.images import save_image
from dfast.io.tensors import write_bytes

IMAGE = np.zeros((2, 2, 3), np.uint8)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o077, 0o002, 0o022])
def test_new_files_and_folders_have_the_modes_of_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        path = save_image(IMAGE, tmp_path / "folder" / "a.png")
    finally:
        os.umask(before)
    assert mode(path) == 0o666 & ~umask and mode(path.parent) == 0o777 & ~umask


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    path.chmod(0o640)
    save_image(IMAGE, path)
    assert mode(path) == 0o640 and path.stat().st_size


@pytest.mark.parametrize("name", ["chmod", "fsync", "flock"])
def test_places_that_refuse_a_nicety(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    place = {"chmod": os, "fsync": os, "flock": _files.fcntl}[name]
    monkeypatch.setattr(place, name, refuse)
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    save_image(IMAGE, path)
    assert path.read_bytes()[:4] == b"\x89PNG" and [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_bytes_that_were_lost_are_an_error(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(file: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(ExportError, match=r"a.png': cannot be written \(") as caught:
        save_image(IMAGE, path)
    assert os.strerror(number) in str(caught.value)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_place_without_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "replace", refuse)
    write_bytes(tmp_path / "a", b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


def test_a_link_stays_and_its_target_changes(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    for name, target in (("a.png", "site/a.png"), ("b.png", "a.png"), ("c.png", "site/new.png")):
        (tmp_path / name).symlink_to(target)
    for name in ("a.png", "b.png", "c.png"):
        save_image(IMAGE, tmp_path / name)
        assert (tmp_path / name).is_symlink()
    assert {p.name for p in (tmp_path / "site").iterdir()} == {"a.png", "new.png"}
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(ExportError, match=r"loop.png': cannot be written"):
        save_image(IMAGE, tmp_path / "loop.png")


def test_a_pipe_gets_the_bytes(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe.png", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    save_image(IMAGE, pipe)
    reader.join(10)
    assert got[0][:4] == b"\x89PNG" and stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert save_image(IMAGE, "~/a.png") == tmp_path / "home" / "a.png"
    Config().save("~/c.toml")
    assert Config.load("~/c.toml") == Config()
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert user_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")


def test_names_as_long_as_they_can_be(tmp_path: Path) -> None:
    write_bytes(tmp_path / f"{'n' * 250}.png", b"x")
    assert [p.stat().st_size for p in tmp_path.iterdir()] == [1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_byte_order_marks(encoding: str, tmp_path: Path) -> None:
    text = '[guidance]\nnegative = "häßlich"\n'
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "c.toml").write_bytes((mark + text).encode(encoding))
    assert read_text(tmp_path / "c.toml") == text
    assert Config.load(tmp_path / "c.toml").guidance.negative == "häßlich"


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys\n"
        "from dfast._files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("a.png", "b.png"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], timeout=60)
    assert len(list(tmp_path.iterdir())) == 2
    with replacing(tmp_path / "a.png") as mine:
        mine.write_bytes(b"whole")
        assert len(list(tmp_path.iterdir())) == 2  # this one, and that of b
        sweep(tmp_path)
        assert mine.exists()  # it is being written
    (tmp_path / ".notes.settings.png").touch()
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", ".notes.settings.png"}
    sweep(tmp_path / "nothing")
