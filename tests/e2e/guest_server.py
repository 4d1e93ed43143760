"""The real guest web server on 127.0.0.1 with a gatekeeper in memory: gunicorn, its worker and the pages, no kernel.

Run as ``python -m tests.e2e.guest_server`` it prints its port and serves until SIGTERM or until its parent ends.
``guest_server()`` starts it so and stops it again.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import flask

ROOT = Path(__file__).parents[2]
PR_SET_PDEATHSIG = 1
MAC = "02:00:7f:00:00:01"
SITE_NAME = "Desa Muara Kaman Ulu"


@contextmanager
def guest_server(**options: object) -> Iterator[tuple[int, int]]:
    """Start a server in a process of its own; gives (port, the server's process id)."""
    command = [sys.executable, "-m", "tests.e2e.guest_server", json.dumps({**options, "parent": os.getpid()})]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line, f"the server did not start (exit status {server.wait(10)})"
            yield int(line), server.pid
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                raise


class _EverybodyOnLoopback(dict[str, str]):
    """A neighbour table in which 127.a.b.c is a phone with the MAC 02:00:7f:a:b:c."""

    def get(self, ip: str, default: str | None = None) -> str | None:  # type: ignore[override]
        if not ip.startswith("127."):
            return default
        return "02:00:" + ":".join(f"{int(part):02x}" for part in ip.split("."))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("options", type=json.loads)
    options = parser.parse_args().options
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != options["parent"]:
        sys.exit("the parent has gone")

    from portal import clock, listener, wsgi
    from portal.config import Portal, Site, SiteConfig
    from portal.domain.model import Session, Uplink, UplinkState
    from portal.gatekeeper import GateError
    from portal.guest.app import create_app
    from tests.unit.guest.fake_gate import NOW, FakeGate
    from tests.unit.guest.scenes import SCENES

    class Gate(FakeGate):
        def enter_by_terms(self, mac: str, ipv4: str | None, terms_version: str) -> Session:
            time.sleep(options.get("login_s", 0))
            return super().enter_by_terms(mac, ipv4, terms_version)

    gate: FakeGate = Gate(_EverybodyOnLoopback())
    gate.left_s = 28_500.0
    gate.used = (12_400_000, 1_530_000_000)
    if options.get("uplink_down_since") is not None:
        gate.state = Uplink(UplinkState.DOWN, options["uplink_down_since"])
    if options.get("problem"):
        gate.login_broken = GateError(options["problem"], "made by the test")
    config = SiteConfig(
        site=Site(code="64.03.01.2001", name=options.get("site_name", SITE_NAME)),
        portal=Portal(name="localhost", certificate=options.get("certificate"), key=options.get("key")),
    )
    read_clock = clock.now
    if options.get("scene"):
        scene = SCENES[options["scene"]]
        config, gate, read_clock = scene.config(), scene.gate({"127.0.0.1": MAC}, MAC), lambda: NOW
    found = listener.listen("::ffff:127.0.0.1", 0)
    tls = wsgi.tls_context(options["certificate"], options["key"]) if options.get("certificate") else None
    app = _echo() if options.get("echo") else create_app(config, gate, read_clock)
    wsgi.HANG_S = options.get("hang_s", wsgi.HANG_S)
    prepared = wsgi.Prepared(app, gate, tls, max_body_bytes=options.get("max_body_bytes", wsgi.MAX_FORM_BYTES))
    if options.get("forbid_source"):
        forbid_source()
    print(found.getsockname()[1], flush=True)
    wsgi.run(prepared, found, Path("/tmp"))


def _echo() -> flask.Flask:
    """Tells the length and digest of what it gets."""
    app = flask.Flask("echo")

    @app.post("/")
    def echo() -> dict[str, object]:
        body = flask.request.get_data()
        return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    @app.post("/redirect")
    def redirect() -> flask.Response:
        return flask.redirect("/elsewhere")  # type: ignore[return-value]

    return app


def forbid_source() -> None:
    """From here on, opening anything that was installed or cloned fails, as it does below a directory of root's."""
    closed = (str(ROOT), sys.prefix, *(path for path in sys.path if path))

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and isinstance(args[0], str) and args[0].startswith(closed):
            os.write(2, f"opened after the start: {args[0]}\n".encode())
            raise PermissionError(f"{args[0]} was opened after the start")

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
