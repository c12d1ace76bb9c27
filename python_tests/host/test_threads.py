"""How torch's threads wait and how many there are, chosen at import unless the user chose."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from dfast.host import threads

SHOW = "print(*(os.environ.get(n) for n in ('OMP_WAIT_POLICY', 'OMP_NUM_THREADS')))\n"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process whose environment chooses nothing but what is given."""
    chosen = (*threads.WAITING, *threads.COUNTING)
    clean = {name: value for name, value in os.environ.items() if name not in chosen}
    return subprocess.run(
        [sys.executable, "-c", f"import os, sys\n{code}"],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.parametrize(
    ("user", "policy", "spins"),
    [
        ({}, "PASSIVE", False),
        ({"OMP_WAIT_POLICY": "active"}, "active", True),
        ({"OMP_WAIT_POLICY": "passive"}, "passive", False),
        ({"GOMP_SPINCOUNT": "5000"}, "None", True),
        ({"GOMP_SPINCOUNT": "0"}, "None", False),
        ({"KMP_BLOCKTIME": "200"}, "None", True),
    ],
)
def test_waiting_is_passive_unless_the_user_chose(
    user: dict[str, str], policy: str, spins: bool
) -> None:
    code = (
        f"import dfast\n{SHOW}"
        "from dfast.host.threads import threads_may_spin, wait_policy\n"
        "print(threads_may_spin(), wait_policy(), 'torch' in sys.modules)"
    )
    first, second = python(code, **user).stdout.splitlines()
    assert first.split()[0] == policy
    assert second.startswith(f"{spins} ") and second.endswith(" False")
    for name, value in user.items():
        assert f"{name}={value}" in second


def test_torch_starts_with_it_and_later_programs_do_not() -> None:
    code = f"import dfast, dfast.ops\nassert 'torch' in sys.modules\n{SHOW}"
    done = python(code, OMP_DISPLAY_ENV="VERBOSE")
    assert done.stdout == "None None\n"
    if "OMP_WAIT_POLICY" in done.stderr:  # an OpenMP that shows what it took
        assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


def test_a_host_that_loaded_torch_keeps_its_environment() -> None:
    code = (
        f"import torch, dfast\n{SHOW}"
        "from dfast.host.threads import threads_may_spin, wait_policy\n"
        "print(threads_may_spin(), wait_policy())"
    )
    done = python(code)
    assert done.stdout == "None None\nTrue busy: torch was imported before dfast\n"


@pytest.mark.parametrize(
    ("user", "usable", "expected"),
    [
        ({}, 3, "3"),
        ({}, 8, None),
        ({"OMP_NUM_THREADS": "6"}, 3, "6"),
        ({"MKL_NUM_THREADS": "6"}, 3, None),
    ],
)
def test_a_quota_limits_threads_before_torch_is_loaded(
    monkeypatch: pytest.MonkeyPatch, user: dict[str, str], usable: int, expected: str | None
) -> None:
    environment = dict(user)
    monkeypatch.setattr(threads, "os", SimpleNamespace(environ=environment))
    monkeypatch.setattr(threads, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(threads, "_ours", {})
    monkeypatch.setattr(threads, "_chosen", "")
    monkeypatch.setattr(threads, "affinity", lambda: set(range(8)))
    monkeypatch.setattr(threads, "usable_cpus", lambda: usable)
    threads.prepare()
    assert environment.get("OMP_NUM_THREADS") == expected
    threads.torch_loaded()
    assert environment == user


@pytest.mark.parametrize(
    ("before", "cpus", "during"),
    [(2, 2, 1), (2, 4, 2), (1, 2, 1)],
    ids=["torch's own number", "the host's number", "few already"],
)
def test_a_quota_limits_threads_of_a_run(
    monkeypatch: pytest.MonkeyPatch, before: int, cpus: int, during: int
) -> None:
    for name in threads.COUNTING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "affinity", lambda: set(range(cpus)))
    monkeypatch.setattr(threads, "physical_cores", lambda: cpus)
    monkeypatch.setattr(threads, "usable_cpus", lambda: 1)
    original = torch.get_num_threads()
    try:
        torch.set_num_threads(before)
        with threads.threads_within_quota():
            assert torch.get_num_threads() == during
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(original)
