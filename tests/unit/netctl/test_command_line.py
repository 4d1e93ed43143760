"""Every verb answers in text and JSON, and every failure is one sentence with a code of sysexits(3)."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

import netctl
from netctl import __main__ as command_line
from netctl.api.types import Feature, GatewayConfig
from netctl.doctor import Finding, examine
from netctl.kernel.fake import FakeKernel
from portal import release
from tests.unit.netctl.bench import grant, ipv4, mac, state
from tests.unit.netctl.test_server import Daemon, daemon_in


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["netctl", *map(str, arguments)])
        code = 0
        try:
            command_line.main()
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture
def daemon(tmp_path: Path) -> Any:
    with daemon_in(tmp_path) as running:
        yield running


class Borrowed:
    """The daemon's kernel as a second program sees it: closing it does not close the daemon's descriptors."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def close(self) -> None:
        pass


@pytest.fixture
def config_file(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The running daemon's configuration; `linux` gives its kernel, so that nothing real is touched."""
    monkeypatch.setattr(command_line, "linux", lambda _config: Borrowed(daemon.gateway.kernel))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    path = tmp_path / "netctl.json"
    path.write_bytes(msgspec.json.encode(daemon.gateway.config))
    return path


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(netctl.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == netctl.__version__ == release.VERSION


def test_status_in_words_and_as_json(run: Any, daemon: Daemon) -> None:
    daemon.gateway.push(grant(1))
    text = run("status", "--socket", daemon.path)
    assert text.code == 0
    assert "1 grants, 1 addresses" in text.out
    assert "drift 0 at the last tick" in text.out
    assert "link down 20000 kbit/s, up 10000 kbit/s" in text.out
    assert run("status", "--socket", daemon.path, "--json").json["generation"] == 1


def test_dump_in_lines_and_as_json(run: Any, daemon: Daemon) -> None:
    daemon.gateway.push(grant(1))
    assert f"neighbour {ipv4(1)} {mac(1)}\n" in run("dump", "--socket", daemon.path).out
    assert len(run("dump", "--socket", daemon.path, "--json").json["lines"]) == 5


def test_plan_changes_nothing(run: Any, daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(msgspec.json.encode(state(grant(1))))
    planned = run("plan", tmp_path / "state", "--socket", daemon.path)
    assert planned.code == 0
    assert planned.out.splitlines()[0] == "set class down 0x10 rate 64 ceil 5000 kbit prio 1"
    assert daemon.gateway.kernel.done == []


def test_plan_without_a_daemon_reads_the_kernel_and_changes_nothing(
    run: Any, daemon: Daemon, config_file: Path, tmp_path: Path
) -> None:
    daemon.gateway.push(grant(1))
    daemon.gateway.kernel.done.clear()
    (tmp_path / "state").write_bytes(msgspec.json.encode(state(grant(1))))
    assert run("plan", tmp_path / "state", "--config", config_file).out == ""
    (tmp_path / "state").write_bytes(msgspec.json.encode(state()))
    assert "del member" in run("plan", tmp_path / "state", "--config", config_file, "--json").out
    assert daemon.gateway.kernel.done == []


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"{", 65, "is no DesiredState"),
        (msgspec.json.encode(state(grant(1, ipv4="10.77.0.1"))), 65, "Grant 1 has 10.77.0.1"),
    ],
)
def test_a_wrong_state_is_a_data_error(
    run: Any, daemon: Daemon, tmp_path: Path, content: bytes, code: int, words: str
) -> None:
    (tmp_path / "state").write_bytes(content)
    result = run("plan", tmp_path / "state", "--socket", daemon.path)
    assert result.code == code
    assert words in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 64),
        (("nonsense",), 64),
        (("status", "--nonsense"), 64),
        (("plan",), 64),
        (("status", "--socket", "nothing.sock"), 69),
        (("dump", "--socket", "nothing.sock"), 69),
        (("plan", "/nowhere/state.json"), 65),
        (("daemon", "--config", "/nowhere/netctl.json"), 78),
        (("cleanup", "--config", "/nowhere/netctl.json"), 78),
        (("--version",), 0),
        (("--help",), 0),
    ],
)
def test_exit_codes(
    run: Any, tmp_path: Path, arguments: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run(*arguments).code == code


def test_only_root_may_run_what_changes_the_kernel(
    run: Any, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    for verb in ("daemon", "cleanup"):
        result = run(verb, "--config", config_file)
        assert (result.code, "needs root" in result.err) == (77, True)


def test_a_second_daemon_is_refused_before_it_touches_the_kernel(run: Any, daemon: Daemon, config_file: Path) -> None:
    daemon.gateway.kernel.calls.clear()
    result = run("daemon", "--config", config_file)
    assert result.code == 69
    assert "Another netctl runs at" in result.err
    assert daemon.gateway.kernel.calls == []


def test_a_kernel_without_a_needed_feature_is_one_sentence_and_exit_69(
    run: Any, tmp_path: Path, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = Feature(name="ipset", present=False, required=True, detail="nobody could be admitted")

    def make(config: GatewayConfig) -> FakeKernel:
        return FakeKernel(config, features=(lacking,))

    monkeypatch.setattr(command_line, "linux", make)
    other = msgspec.json.decode(config_file.read_bytes())
    other["socket_path"] = str(tmp_path / "other.sock")
    config_file.write_bytes(msgspec.json.encode(other))
    result = run("daemon", "--config", config_file)
    assert result.code == 69
    assert result.err.strip().splitlines()[-1].startswith("netctl: This kernel lacks ipset (nobody could be admitted)")


def test_cleanup_refuses_beside_a_daemon_and_removes_all_after_it(run: Any, daemon: Daemon, config_file: Path) -> None:
    daemon.gateway.push(grant(1))
    refused = run("cleanup", "--config", config_file)
    assert (refused.code, "would put everything back" in refused.err) == (69, True)
    assert daemon.gateway.members()
    daemon.stop()
    for _ in range(2):
        assert run("cleanup", "--config", config_file, "--json").json == {"removed": True}
    assert daemon.gateway.kernel.dump() == ()
    assert not Path(daemon.gateway.config.state_path).exists()
    daemon.start()


def test_an_error_of_the_kernel_is_an_os_error(run: Any, daemon: Daemon, config_file: Path) -> None:
    from netctl.api.errors import KERNEL, NetctlError

    daemon.stop()
    daemon.gateway.kernel.broken = NetctlError(KERNEL, "The kernel refused.", "")
    assert run("cleanup", "--config", config_file).code == 71
    daemon.gateway.kernel.broken = None
    daemon.start()


# --- doctor -----------------------------------------------------------------------------------------------------------


def findings(path: Path, kernel: FakeKernel) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(path, lambda _config: Borrowed(kernel))}


def test_a_healthy_gateway_has_no_warning(run: Any, daemon: Daemon, config_file: Path) -> None:
    daemon.gateway.push(grant(1))
    assert {f.level for f in findings(config_file, daemon.gateway.kernel).values()} == {"ok"}
    assert run("doctor", "--config", config_file).code == 0


def test_the_doctor_takes_the_link_as_the_daemon_holds_it(daemon: Daemon, config_file: Path) -> None:
    daemon.gateway.engine.shape_link(8_000, None)
    asked: list[GatewayConfig] = []

    def make(config: GatewayConfig) -> Borrowed:
        asked.append(config)
        return Borrowed(daemon.gateway.kernel)

    found = {finding.name: finding.message for finding in examine(config_file, make)}
    assert found["link down"] == "Held at 8000 kbit/s now; configured is 20000 kbit/s."
    assert found["link up"] == "Held at 10000 kbit/s, as configured."
    assert (asked[0].link_down_kbit, asked[0].link_up_kbit) == (8_000, 10_000)


def test_the_doctor_names_what_is_wrong_and_what_to_do(run: Any, daemon: Daemon, config_file: Path) -> None:
    kernel = daemon.gateway.kernel
    daemon.gateway.push(grant(1))
    kernel.lose(ipv4(1))
    daemon.gateway.engine.tick()
    kernel.standing = False
    kernel.features = (Feature(name="fq_codel", present=False, required=False, detail="bfifo is used"),)
    Path(daemon.gateway.config.state_path).write_bytes(b"{")
    found = findings(config_file, kernel)
    assert found["drift"].level == "warn"
    assert found["rules"].level == "fail"
    assert found["statefile"].level == "fail"
    assert found["fq_codel"].level == "warn"
    assert all(f.fix for f in found.values() if f.level != "ok")
    assert run("doctor", "--config", config_file, "--json").code == 69


def test_the_doctor_without_a_daemon_says_how_to_start_it(run: Any, daemon: Daemon, config_file: Path) -> None:
    daemon.stop()
    found = findings(config_file, daemon.gateway.kernel)
    assert found["daemon"].level == "fail"
    assert found["daemon"].fix
    daemon.start()


def test_the_doctor_of_a_wrong_configuration_says_only_that(run: Any, tmp_path: Path) -> None:
    result = run("doctor", "--config", tmp_path / "nothing.json", "--json")
    assert result.code == 69
    assert [f["name"] for f in result.json] == ["config"]


def test_the_doctor_changes_nothing(run: Any, daemon: Daemon, config_file: Path) -> None:
    daemon.gateway.push(grant(1))
    before = daemon.gateway.kernel.dump()
    daemon.gateway.kernel.done.clear()
    daemon.gateway.kernel.calls.clear()
    run("doctor", "--config", config_file)
    assert {"setup", "teardown", "apply"}.isdisjoint(daemon.gateway.kernel.calls)
    assert daemon.gateway.kernel.dump() == before
