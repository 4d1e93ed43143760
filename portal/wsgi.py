"""Serves one WSGI application in this process, with gunicorn's worker and HTTP. It must not know pages.

Who calls it loads everything, the certificate too, while the source can still be read; ``serve``, after privileges are
dropped, never returns. Each listener is a process of its own. gunicorn's arbiter, which would fork the worker and watch
it, is left out: who started the process, supervisor or systemd, starts again what dies and holds the socket meanwhile,
the kernel's alarm ends what hangs, and each process is some 12 MB smaller.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401, werkzeug asks for this codec with the first request, when it may be unreadable
import gc
import logging
import os
import resource
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from portal import listener as listening
from portal import notify
from portal.worker import MAX_CONNECTIONS, HeadWorker

log = logging.getLogger("gerbang.wsgi")

THREADS = 32
"""Logins wait in threads for their group commit; started only as they are needed."""
MAX_FORM_BYTES = 16 * 1024
"""What forms of a few short fields need, many times over."""
GRACEFUL_TIMEOUT_S = 3
HANG_S = 30
"""A loop that stands still for so long ends the process."""
MEMORY_DIR = Path("/dev/shm")  # noqa: S108, a heartbeat file that gunicorn unlinks at once; on a disk it would wear it


class Background(Protocol):
    """What works behind the pages."""

    def start(self) -> None:
        """Once, before the first request."""

    def close(self) -> None:
        """After the last."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was loaded before privileges were dropped. ``tls`` is None for plain HTTP; ``name`` is the process's.

    ``max_body_bytes``: larger request bodies are answered 413 where they are read.
    """

    app: flask.Flask
    background: Background
    tls: ssl.SSLContext | None
    name: str = "gerbang-guest"
    max_body_bytes: int = MAX_FORM_BYTES


def serve(prepared: Prepared, port: int, tmp_dir: Path) -> NoReturn:
    """Answer on the socket that this process was given, else on ``[::]:port`` (IPv4 too), until SIGTERM.

    :raises SystemExit: always; status 0 after SIGTERM, EX_UNAVAILABLE (sysexits) if the port cannot be had
    """
    _allow_descriptors(MAX_CONNECTIONS + 200)
    try:
        listener = listening.inherited() or listening.listen("::", port)
    except OSError as error:
        log.error("Port %d cannot be had: %s. Stop the program that holds it, or change it in site.toml.", port, error)
        sys.exit(os.EX_UNAVAILABLE)
    run(prepared, listener, tmp_dir)


def run(prepared: Prepared, listener: socket.socket, tmp_dir: Path) -> NoReturn:
    """Answer on a listening socket until SIGTERM; ends with SystemExit(0)."""
    host, port = listener.getsockname()[:2]
    log.info("answering %s on [%s]:%d", "https" if prepared.tls else "http", host, port)
    gc.collect()
    gc.freeze()  # what is alive now lives as long as the process: collections need not look at it again
    application = _Application(prepared, tmp_dir)
    worker = _Worker(1, os.getppid(), [listener], application, HANG_S, application.cfg, _Logger(application.cfg))
    try:
        worker.init_process()  # runs until SIGTERM
    finally:
        prepared.background.close()
    sys.exit(os.EX_OK)


def tls_context(certificate: str | Path, key: str | Path) -> ssl.SSLContext:
    """Load a PEM certificate with its chain, and its key.

    :raises OSError: a file that cannot be read; ssl.SSLError, which is one: they do not belong together
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def _allow_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


class _Worker(HeadWorker):
    """One that systemd is told of: a turn of its loop is what "ready" and "alive" mean."""

    def init_process(self) -> None:
        self.pulse = notify.Pulse()
        super().init_process()

    def notify(self) -> None:
        super().notify()
        self.pulse.turn()

    def _stop(self) -> None:
        self.pulse.stopping()
        super()._stop()


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's words through the project's own handlers, without its chatter about what it is doing."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self.error_log = logging.getLogger("gerbang.gunicorn")
        self.error_log.setLevel(logging.WARNING)

    def access(self, *_: Any) -> None:
        """No access log: who opened what is nobody's business (docs: usage log and privacy)."""


class _Application(BaseApplication):  # type: ignore[misc]
    """gunicorn's view of the portal: settings in code, so that neither a file nor the environment changes them."""

    def __init__(self, prepared: Prepared, tmp_dir: Path) -> None:
        self.tls = prepared.tls
        self.max_body_bytes = prepared.max_body_bytes
        self._prepared = prepared
        self._tmp_dir = MEMORY_DIR if os.access(MEMORY_DIR, os.W_OK) else tmp_dir
        super().__init__()

    def load(self) -> Any:
        return self._prepared.app.wsgi_app

    def load_config(self) -> None:
        background = self._prepared.background
        for name, value in {
            "threads": THREADS,
            "keepalive": 0,
            "graceful_timeout": GRACEFUL_TIMEOUT_S,
            "limit_request_line": 4094,
            "limit_request_fields": 60,
            "limit_request_field_size": 8190,
            "forwarded_allow_ips": "",  # nobody stands between a phone and the portal
            # Not the defaults, which gunicorn took while this process was still root.
            "user": os.geteuid(),
            "group": os.getegid(),
            "worker_tmp_dir": str(self._tmp_dir),
            "post_worker_init": lambda worker: background.start(),  # noqa: ARG005, gunicorn counts the arguments
        }.items():
            self.cfg.set(name, value)
