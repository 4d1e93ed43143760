"""Command line of netctl: the daemon, and the verbs that ask it or clean up after it.

It must not know people, plans or HTTP. Exit codes are those of sysexits(3). The kernel side is imported only by
the verbs that need it: `netctl status` must not pay for it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
import msgspec

from netctl import __version__
from netctl.api import errors
from netctl.api.client import Client
from netctl.api.errors import NetctlError

if TYPE_CHECKING:
    from netctl.api.types import DesiredState, GatewayConfig
    from netctl.kernel.base import Kernel

EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_UNAVAILABLE: Final = 69
EX_INTERNAL: Final = 70
EX_OSERR: Final = 71
EX_NOPERM: Final = 77
EX_CONFIG: Final = 78
EXIT_OF: Final = {
    errors.BUSY: EX_UNAVAILABLE,
    errors.TIMEOUT: EX_UNAVAILABLE,
    errors.UNREACHABLE: EX_UNAVAILABLE,
    errors.UNSUPPORTED: EX_UNAVAILABLE,
    errors.BAD_REQUEST: EX_DATAERR,
    errors.TOO_LARGE: EX_DATAERR,
    errors.REFUSED: EX_DATAERR,
    errors.DENIED: EX_NOPERM,
    errors.KERNEL: EX_OSERR,
    errors.CONFIG: EX_CONFIG,
    errors.INTERNAL: EX_INTERNAL,
}
DEFAULT_SOCKET: Final = "/run/gerbang/netctl.sock"
DEFAULT_CONFIG: Final = "/run/gerbang/netctl.json"
AGAIN_AFTER_S: Final = 2.0
LOOK_EVERY_S: Final = 0.1
LATE_S: Final = 30.0

log = logging.getLogger("netctl")

as_json = click.option("--json", "json_", is_flag=True, help="One JSON object instead of text.")
at_socket = click.option("--socket", "socket_path", default=DEFAULT_SOCKET, show_default=True, help="netctl's socket.")
a_file = click.Path(dir_okay=False, path_type=Path)
config_file = click.option("--config", "config_path", type=a_file, default=DEFAULT_CONFIG, show_default=True)
patiently = click.option("--patient", is_flag=True, help="Wait for what is missing instead of giving up.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """The kernel side of Gerbang: who may pass, how fast, until when."""


@cli.command()
@config_file
@click.option("--keep", is_flag=True, help="At SIGTERM leave users online; their deadlines hold.")
@patiently
@as_json
def daemon(config_path: Path, keep: bool, patient: bool, json_: bool) -> None:
    """Own the kernel state and serve the control socket until SIGTERM."""
    from netctl.config import load  # noqa: PLC0415
    from netctl.engine import Engine  # noqa: PLC0415
    from netctl.server import Server  # noqa: PLC0415

    start_log(json_)
    config = load(config_path)
    need_root()
    if patient:  # before it listens to signals: whoever stops it now need not wait, too
        wait_for_interfaces((config.lan_interface, config.uplink_interface))
    Path(config.socket_path).parent.mkdir(parents=True, exist_ok=True)
    kernel = linux(config)
    engine = Engine(config, kernel)
    server = Server(engine, config, Watchdog().turn)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: server.stop())
    server.claim()  # before the kernel is touched: two daemons would fight over it
    try:
        engine.start()
        server.open()
        log.info("ready on %s: LAN %s, uplink %s", config.socket_path, config.lan_interface, config.uplink_interface)
        notify("READY=1")
        server.run()
        notify("STOPPING=1")
        engine.stop(keep)
        log.info("stopped%s", "; users stay online" if keep else "; everything of ours is removed")
    finally:
        server.close()


@cli.command()
@config_file
@patiently
@as_json
def rules(config_path: Path, patient: bool, json_: bool) -> None:
    """Make the rules stand that let nobody pass, before there is an interface. The daemon does the rest."""
    from netctl.config import load  # noqa: PLC0415

    start_log(json_)
    config = load(config_path)
    need_root()
    while not daemon_answers(config.socket_path):  # the rules of one that does stand
        kernel = linux(config)
        try:
            kernel.put_rules()
            break
        except NetctlError as error:
            if not patient:
                raise
            log.error("%s The LAN stays shut; trying again in %.0f s.", error, AGAIN_AFTER_S)
        finally:
            kernel.close()
        time.sleep(AGAIN_AFTER_S)


@cli.command()
@at_socket
@as_json
def status(socket_path: str, json_: bool) -> None:
    """How the daemon is."""
    found = Client(socket_path).status()
    if json_:
        say_json(found)
        return
    state = "no state yet" if found.epoch is None else f"generation {found.generation} of {found.epoch}"
    click.echo(f"netctl {found.version}, up {found.uptime_s:.0f} s: {state}")
    click.echo(f"{found.grants} grants, {found.members} addresses; the last change took {found.last_apply_ms:.1f} ms")
    click.echo(f"drift {found.drift} at the last tick, {found.drift_total} since start")
    click.echo(f"LAN {found.lan_interface} ({', '.join(found.lan_prefixes)}), uplink {found.uplink_interface}")
    down, up = (f"{kbit} kbit/s" if kbit else "of unknown rate" for kbit in (found.link_down_kbit, found.link_up_kbit))
    click.echo(f"link down {down}, up {up}")
    for feature in found.features:
        if not feature.present:
            click.echo(f"missing: {feature.name}: {feature.detail}")
    if found.problem:
        click.echo(f"problem: {found.problem}")


@cli.command()
@at_socket
@as_json
def dump(socket_path: str, json_: bool) -> None:
    """Everything that is ours in the kernel, as stable lines."""
    say_lines(Client(socket_path).dump(), json_)


@cli.command()
@click.argument("file", type=a_file)
@click.option("--config", "config_path", type=a_file, help="Ask the kernel itself; no daemon is needed.")
@at_socket
@as_json
def plan(file: Path, config_path: Path | None, socket_path: str, json_: bool) -> None:
    """Say what pushing the DesiredState in FILE (JSON; - is standard input) would change. Changes nothing."""
    state = read_state(file)
    say_lines(
        Client(socket_path).plan(state) if config_path is None else plan_without_daemon(config_path, state), json_
    )


@cli.command()
@click.option("--config", "config_path", type=a_file, help=f"Names of the interfaces; else {DEFAULT_CONFIG}, if there.")
@as_json
def cleanup(config_path: Path | None, json_: bool) -> None:
    """Remove everything of ours from this network namespace; no daemon may run. Idempotent."""
    from netctl import statefile  # noqa: PLC0415

    need_root()
    config = config_or_guess(config_path)
    refuse_beside_daemon(config.socket_path)
    kernel = linux(config)
    try:
        kernel.teardown()
        left = [line for line in kernel.dump() if not line.startswith("not intact")]
    finally:
        kernel.close()
    statefile.remove(Path(config.state_path))
    if left:
        raise NetctlError(errors.KERNEL, f"{len(left)} things of ours remain: {'; '.join(left[:5])}", "See the log.")
    if json_:
        click.echo('{"removed":true}')
    else:
        click.echo("Nothing of ours is left in this network namespace.")


@cli.command()
@config_file
@as_json
def doctor(config_path: Path, json_: bool) -> None:
    """Look at everything netctl needs. Exit code 0: nothing failed, 69: something did."""
    from netctl.doctor import examine  # noqa: PLC0415

    findings = list(examine(config_path, linux))
    if json_:
        say_json(findings)
    else:
        for finding in findings:
            click.echo(f"{finding.level:4}  {finding.name}: {finding.message} {finding.fix}".rstrip())
    if any(finding.level == "fail" for finding in findings):
        sys.exit(EX_UNAVAILABLE)


# --- helpers ----------------------------------------------------------------------------------------------------------


def linux(config: GatewayConfig) -> Kernel:
    """The real kernel."""
    from netctl.kernel.linux import LinuxKernel  # noqa: PLC0415 (pyroute2: 100 ms and 10 MB that `status` saves)

    return LinuxKernel(config)


class JsonLines(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return msgspec.json.encode({"level": record.levelname, "name": record.name, "message": text}).decode()


def start_log(json_: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines("%(message)s") if json_ else logging.Formatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def need_root() -> None:
    if os.geteuid() != 0:
        raise NetctlError(errors.DENIED, "netctl changes the kernel's network state; this needs root.", "Use sudo.")


def read_state(file: Path) -> DesiredState:
    from netctl.api.types import DesiredState  # noqa: PLC0415

    try:
        text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        state: DesiredState = msgspec.json.decode(text, type=DesiredState)
        return state
    except OSError as error:
        raise NetctlError(errors.BAD_REQUEST, f"{file} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NetctlError(errors.BAD_REQUEST, f"{file} is no DesiredState: {error}.", "See docs/api.md.") from error


def plan_without_daemon(config_path: Path, state: DesiredState) -> tuple[str, ...]:
    from netctl.config import load  # noqa: PLC0415
    from netctl.engine import dry_run  # noqa: PLC0415

    config = load(config_path)
    need_root()
    kernel = linux(config)
    try:
        return dry_run(config, kernel, state)
    finally:
        kernel.close()


def config_or_guess(config_path: Path | None) -> GatewayConfig:
    """The file named, else the one of the default run directory, else the default names: our own names are fixed."""
    from netctl.api.types import GatewayConfig  # noqa: PLC0415
    from netctl.config import load  # noqa: PLC0415

    if config_path is not None:
        return load(config_path)
    if Path(DEFAULT_CONFIG).exists():
        return load(DEFAULT_CONFIG)
    return GatewayConfig(
        lan_interface="lan0",
        uplink_interface="wan0",
        lan_address="10.77.0.1/20",
        ula_prefix=None,
        link_down_kbit=None,
        link_up_kbit=None,
        portal_port=8080,
        portal_tls_port=None,
        socket_path=DEFAULT_SOCKET,
        state_path="/run/gerbang/netctl-state.json",
    )


def wait_for_interfaces(names: Iterable[str]) -> None:
    """However long it takes: who makes them may still be starting, and a card may be plugged in again at any time."""
    begun_s, late = time.monotonic(), False
    while missing := set(names) - {name for _, name in socket.if_nameindex()}:
        if not late and time.monotonic() - begun_s > LATE_S:
            late = True
            log.warning("there is no interface %s; the LAN stays shut until then", " and no ".join(sorted(missing)))
        notify(f"EXTEND_TIMEOUT_USEC={round(2e6 * LATE_S)}")
        time.sleep(LOOK_EVERY_S)


def daemon_answers(socket_path: str) -> bool:
    try:
        Client(socket_path, timeout_s=2.0).status()
    except NetctlError as error:
        if error.code == errors.UNREACHABLE:
            return False
        raise
    return True


def refuse_beside_daemon(socket_path: str) -> None:
    if not daemon_answers(socket_path):
        return
    message = f"A netctl daemon answers at {socket_path}; it would put everything back."
    raise NetctlError(errors.BUSY, message, "Stop it first; without --keep it cleans up itself.")


def say_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value))


def say_lines(lines: Iterable[str], json_: bool) -> None:
    if json_:
        say_json({"lines": list(lines)})
        return
    for line in lines:
        click.echo(line)


def notify(text: str) -> None:
    """Tell systemd, if it started us (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd was not told %s: %s", text, error)


class Watchdog:
    """Tells systemd that the loop turns, at most twice in the time it allows (sd_watchdog_enabled(3))."""

    def __init__(self) -> None:
        self._every_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
        self._next_s = 0.0

    def turn(self) -> None:
        if self._every_s and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._every_s
            notify("WATCHDOG=1")


def die(message: str, code: int) -> NoReturn:
    click.echo(f"netctl: {message}", err=True)
    sys.exit(code)


def main() -> None:
    """Run a verb; every failure is one sentence and a code of sysexits(3)."""
    try:
        cli.main(prog_name="netctl", standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(EX_USAGE)
    except NetctlError as error:
        die(f"{error.message} {error.hint}".strip(), EXIT_OF.get(error.code, EX_INTERNAL))
    except PermissionError as error:
        die(str(error), EX_NOPERM)
    except OSError as error:
        die(str(error), EX_OSERR)


if __name__ == "__main__":
    main()
