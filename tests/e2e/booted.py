"""This machine's own systemd, booted in namespaces: PID 1 of a box whose units are the gateway's. It knows no gateway.

The root is an overlay in memory over this machine's, so nothing of it changes; what would touch the kernel that all
share (sysctls, modules, devices) is masked or mounted read-only. The program is this tree in this virtual environment,
bound to where the image has it. The box dies with this process, as tests.village.box does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.village.netns import Namespace

ROOT = Path(__file__).parents[2]
# Of this machine: they look after disks, devices and clocks that are not the box's.
MASKED = """
dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount systemd-binfmt.service kmod-static-nodes.service
systemd-sysctl.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service
systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-remount-fs.service systemd-random-seed.service
systemd-logind.service systemd-timesyncd.service systemd-tmpfiles-setup-dev.service systemd-firstboot.service
"""
_INIT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$AT"
mkdir "$AT/upper" "$AT/work" "$AT/root"
mount -t overlay -o "lowerdir=/,upperdir=$AT/upper,workdir=$AT/work" overlay "$AT/root"
cd "$AT/root"
mkdir -p proc sys dev run tmp data usr/lib/gerbang usr/lib/gerbang-tree
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for name in dev run tmp data; do mount -t tmpfs -o mode=755 tmpfs "$name"; done
chmod 1777 tmp
for name in null zero full random urandom tty; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
mount --bind "$VENV" usr/lib/gerbang
mount --bind "$TREE" usr/lib/gerbang-tree
# Nothing that this machine has enabled: the box's units alone.
rm -rf etc/systemd/system etc/fstab var/lib/gerbang
mkdir -p etc/systemd/system/gerbang.target.wants etc/systemd/system.conf.d data/site data/gerbang
ln -s /data/gerbang var/lib/gerbang
touch etc/fstab
printf '[Manager]\\nDefaultEnvironment=PYTHONPATH=/usr/lib/gerbang-tree\\n' >etc/systemd/system.conf.d/tree.conf
for unit in $MASKED; do ln -s /dev/null "etc/systemd/system/$unit"; done
for file in "$TREE"/systemd/gerbang*; do
    case $file in
    *.tmpfiles.conf) cp "$file" usr/lib/tmpfiles.d/gerbang.conf ;;
    *.service | *.socket | *.timer | *.target) cp "$file" usr/lib/systemd/system/ ;;
    esac
done
for unit in $WANTED; do ln -s "/usr/lib/systemd/system/$unit" etc/systemd/system/gerbang.target.wants/; done
printf '%s' "$SITE" >data/site/site.toml
# Mounts reach the services, whose credentials systemd mounts for them.
mount --make-rshared /
export container=tests
exec chroot . /lib/systemd/systemd --system --unit=gerbang.target --log-target=journal --show-status=false
"""


class Booted:
    """``wanted``: the units of gerbang.target. RuntimeError, with the reason, where systemd does not boot."""

    def __init__(self, ns: Namespace, at: Path, site: str, wanted: list[str]) -> None:
        self.ns = ns
        environment = {"AT": str(at), "VENV": sys.prefix, "TREE": str(ROOT), "SITE": site}
        environment |= {
            "MASKED": MASKED.replace("\n", " "),
            "WANTED": " ".join(wanted),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc"]
        self._init = ns.popen(
            [*command, "--", "sh", "-c", _INIT],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.wait(self._answers, 30)
        except TimeoutError:
            self.close()
            assert self._init.stdout is not None
            said = self._init.stdout.read().decode(errors="replace").strip()
            raise RuntimeError(f"systemd does not boot in namespaces: {said or 'it does not answer'}") from None

    def _answers(self) -> bool:
        return self._pid() is not None and self.run("systemctl", "list-jobs").returncode == 0

    def _pid(self) -> int | None:
        """PID 1 of the box, once it is systemd."""
        path = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        for child in path.read_text().split() if path.exists() else ():
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        return None

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self._pid()}/root")

    def run(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """A program in the box, as root."""
        pid = self._pid()
        enter = ["nsenter", f"--target={pid}", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd", "--"]
        plain = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH=/usr/lib/gerbang-tree", *command]
        child = self.ns.popen([*enter, *plain], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = child.communicate(timeout=timeout_s)
        finally:
            if child.poll() is None:
                child.kill()
                child.communicate()
            self.ns.reap(child)
        return subprocess.CompletedProcess(list(command), child.returncode, out, err)

    def drop_in(self, unit: str, text: str) -> Path:
        """In force once systemd has read it: ``systemctl daemon-reload``."""
        path = self.root / f"run/systemd/system/{unit}.d/test.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        done = self.run("systemctl", "show", f"--property={','.join(properties)}", unit)
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def is_active(self, unit: str) -> bool:
        return self.run("systemctl", "--quiet", "is-active", unit).returncode == 0

    def main_pid(self, unit: str) -> int:
        """Its process as the box counts."""
        return int(self.show(unit, "MainPID")["MainPID"])

    def status(self, unit: str) -> dict[str, str]:
        """/proc/PID/status of its process."""
        text = self.run("cat", f"/proc/{self.main_pid(unit)}/status").stdout
        return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}

    def journal(self, *units: str) -> str:
        chosen = [f"--unit={unit}" for unit in units or ("gerbang*",)]
        return self.run("journalctl", "--no-pager", "--output=short-monotonic", *chosen).stdout

    def wait(self, seen: Callable[[], Any], within_s: float = 60) -> None:
        end_s = time.monotonic() + within_s
        while not seen():
            if time.monotonic() > end_s or self._init.poll() is not None:
                journal = self.journal()[-3000:] if self._init.poll() is None and self._pid() else ""
                raise TimeoutError(f"not seen within {within_s} s:\n{journal}")
            time.sleep(0.2)

    def close(self) -> None:
        """Kill all of it at once."""
        if self._init.poll() is None:
            self._init.kill()  # --kill-child: PID 1 follows, and the kernel kills the rest
            self._init.wait()
        self.ns.reap(self._init)
