"""Where a page can be served, and what is said where it cannot."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest

from dfast.cli.main import main
from dfast.errors import ConfigError
from dfast.viewer import address
from dfast.viewer.address import check_address, url


def test_a_free_port_is_accepted() -> None:
    assert check_address("127.0.0.1", 0) == ("127.0.0.1", 0)
    assert check_address("localhost", 0) == ("localhost", 0)


@pytest.mark.parametrize("port", [-1, 65536, 1.5, True, "http", None])
def test_a_port_is_a_number(port: Any) -> None:
    with pytest.raises(ConfigError, match="port: expected a whole number from 0 to 65535, got"):
        check_address("127.0.0.1", port)


@pytest.mark.parametrize("host", ["", "8.8.8.8", "256.1.1.1", None, 5, "a b"])
def test_a_host_is_an_address_of_this_machine(host: Any) -> None:
    with pytest.raises(ConfigError, match="host: expected an address of this machine, got"):
        check_address(host, 0)


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port: {port} is in use on 127.0.0.1"):
            check_address("127.0.0.1", port)
        assert main(["train", "a red chair", "--view", "--port", str(port)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"dfast: error: port: {port} is in use") and said.count("\n") == 1
    check_address("127.0.0.1", port)


@pytest.mark.parametrize("line", [["view", "runs/x"], ["train", "a red chair", "--view"]])
def test_a_missing_viser_is_named_before_torch_loads(line: list[str]) -> None:
    code = (
        "import sys\n"
        "from dfast.viewer import address\n"
        "address.find_spec = lambda name: None\n"
        "from dfast.cli.main import main\n"
        f"code = main({line})\n"
        "assert 'torch' not in sys.modules and 'viser' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = 'dfast: error: view: expected the package viser: pip install "dfast[view]"\n'
    assert done.stderr == said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "1"], "--port: expected with --view"),
        (["--host", "::1"], "--host: expected with --view"),
        (["--view", "--dry-run"], "--view: expected without --dry-run"),
        (["--view", "--port", "70000"], "port: expected a whole number from 0 to 65535"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "a red chair", *options]) == 2
    assert message in capsys.readouterr().err


def test_urls_are_those_that_a_browser_takes() -> None:
    assert url("127.0.0.1", 8080) == "http://127.0.0.1:8080"
    assert url("0.0.0.0", 1) == url("::", 1) == "http://localhost:1"
    assert url("::1", 80) == "http://[::1]:80"
    assert address.HOST == "127.0.0.1"
