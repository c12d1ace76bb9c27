"""The processors that a process may use: quotas of control groups, as containers set them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfast.host import cpus

V1 = "7:cpu,cpuacct:{group}\n4:memory:/elsewhere\n0::/\n"
V1_MOUNT = "30 24 0:26 {root} {mount} rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "0::{group}\n"
V2_MOUNT = "30 24 0:26 {root} {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def linux(tmp_path: Path, version: int, group: str, root: str, files: dict[str, str]) -> Path:
    """Write what Linux shows of a process in a group, and return the folder like /proc/self."""
    mount, proc = tmp_path / "groups of it", tmp_path / "proc"
    proc.mkdir()
    for name, text in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text)
    where = str(mount).replace(" ", "\\040")
    (proc / "cgroup").write_text((V1 if version == 1 else V2).format(group=group))
    line = (V1_MOUNT if version == 1 else V2_MOUNT).format(root=root, mount=where)
    (proc / "mountinfo").write_text(f"25 1 8:1 / / rw - ext4 /dev/sda1 rw\n{line}")
    return proc


@pytest.mark.parametrize(
    ("version", "group", "root", "files", "expected"),
    [
        (2, "/", "/", {"cpu.max": "150000 100000\n"}, 1.5),
        (2, "/", "/", {"cpu.max": "max 100000\n"}, None),
        (2, "/", "/", {"cgroup.procs": ""}, None),
        (2, "/a/b", "/", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, 0.5),
        (2, "/a/b", "/", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "200000 100000"}, 2.0),
        (2, "/pod/box", "/pod/box", {"cpu.max": "300000 100000\n"}, 3.0),
        (2, "/../../host", "/", {"cpu.max": "300000 100000\n"}, 3.0),
        (2, "/a", "/", {"a/cpu.max": "nonsense\n"}, None),
        (1, "/", "/", {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        (1, "/", "/", {"cpu.cfs_quota_us": "25000\n", "cpu.cfs_period_us": "50000\n"}, 0.5),
        (1, "/docker/f00", "/docker/f00",
         {"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "100000\n"}, 2.0),
        (1, "/docker/f00", "/",
         {"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "100000\n"}, 2.0),
        (1, "/a", "/", {"a/cpu.cfs_quota_us": "9\n"}, None),
    ],
)  # fmt: skip
def test_quota_of_a_group(
    tmp_path: Path, version: int, group: str, root: str, files: dict[str, str], expected: float
) -> None:
    assert cpus.cpu_quota(linux(tmp_path, version, group, root, files)) == expected


def test_no_quota_where_there_is_no_linux(tmp_path: Path) -> None:
    assert cpus.cpu_quota(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("quota", "count"), [(None, 8), (0.2, 1), (1.4, 1), (1.5, 2), (3.0, 3), (64.0, 8)]
)
def test_usable_cpus(monkeypatch: pytest.MonkeyPatch, quota: float | None, count: int) -> None:
    monkeypatch.setattr(cpus, "affinity", lambda: set(range(8)))
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    assert cpus.usable_cpus() == count


def test_this_machine() -> None:
    assert 1 <= cpus.usable_cpus() <= len(cpus.affinity())
    assert 1 <= cpus.physical_cores() <= len(cpus.affinity())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu sse avx512_bf16 amx_tile\n", True),
        ("flags : fpu amx_bf16\nflags : fpu\n", True),
        ("flags : fpu avx512f avx512_bf16x\n", False),
        ("Features : fp asimd bf16\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_multiplied_where_the_flags_say_so(
    text: str, expected: bool, tmp_path: Path
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(text)
    assert cpus.multiplies_bfloat16(info) is expected
    assert not cpus.multiplies_bfloat16(tmp_path / "missing")
