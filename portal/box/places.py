"""Where a flashed box keeps what (docs/image.md). It knows no contents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """``root`` is / but in tests."""

    root: Path = Path("/")

    @property
    def firmware(self) -> Path:
        """The FAT partition, which any computer can read."""
        return self.root / "boot/firmware"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def run(self) -> Path:
        """What is made at boot for the system's own programs."""
        return self.root / "run/gerbang-box"

    @property
    def screen(self) -> Path:
        """What a screen shows, in parts."""
        return self.run / "screen"

    @property
    def terminal(self) -> Path:
        """What a screen that is plugged in shows."""
        return self.root / "dev/tty1"

    @property
    def net(self) -> Path:
        """What the kernel says of network interfaces."""
        return self.root / "sys/class/net"

    @property
    def networkd(self) -> Path:
        return self.root / "run/systemd/network"

    @property
    def tray(self) -> Path:
        """The technician's site.toml."""
        return self.firmware / "site.toml"

    @property
    def site_error(self) -> Path:
        return self.firmware / "SITE-ERROR.txt"

    @property
    def site(self) -> Path:
        """The configuration that runs."""
        return self.data / "site/site.toml"

    @property
    def taken(self) -> Path:
        """What the tray held last, and what ran then: SHA-256, a line each."""
        return self.data / "site/taken"

    @property
    def clock(self) -> Path:
        return self.data / "clock"

    @property
    def identity(self) -> Path:
        return self.data / "identity"

    @property
    def ssh(self) -> Path:
        return self.data / "ssh"

    @property
    def gerbang(self) -> Path:
        return self.data / "gerbang"

    @property
    def made(self) -> Path:
        """Written last of all that the first boot makes."""
        return self.data / "firstboot"

    @property
    def hostapd(self) -> Path:
        return self.run / "hostapd.conf"

    @property
    def chrony(self) -> Path:
        return self.run / "chrony.conf"

    @property
    def resolv(self) -> Path:
        return self.run / "resolv.conf"

    @property
    def ntp(self) -> Path:
        return self.run / "ntp/uplink.sources"

    @property
    def ppp_options(self) -> Path:
        """With the password: root alone reads it."""
        return self.run / "pppd.options"

    @property
    def sshd(self) -> Path:
        return self.run / "sshd.conf"

    @property
    def hostapd_setup(self) -> Path:
        return self.run / "hostapd-setup.conf"

    @property
    def setup_wifi(self) -> Path:
        """Name and password of the setup page's Wi-Fi, for the console."""
        return self.run / "setup-wifi.json"

    @property
    def setup_dnsmasq(self) -> Path:
        return self.run / "setup-dnsmasq.conf"
