"""Where the gateway's processes meet: one run directory (RAM), one data directory (disk). It knows no contents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    run: Path = Path("/run/gerbang")
    data: Path = Path("/var/lib/gerbang")

    @property
    def database(self) -> Path:
        return self.data / "gerbang.db"

    @property
    def netctl_socket(self) -> Path:
        return self.run / "netctl.sock"

    @property
    def control_socket(self) -> Path:
        """The supervisor's: who changes the configuration asks here."""
        return self.run / "control.sock"

    @property
    def netctl_config(self) -> Path:
        return self.run / "netctl.json"

    @property
    def netctl_state(self) -> Path:
        return self.run / "netctl-state.json"

    @property
    def dnsmasq_config(self) -> Path:
        return self.run / "dnsmasq.conf"

    @property
    def dnsmasq_block(self) -> Path:
        """The blocked names as dnsmasq reads them."""
        return self.run / "dnsmasq-block.conf"

    @property
    def leases(self) -> Path:
        """In a folder of its own, because dnsmasq writes it as its own user."""
        return self.data / "dnsmasq" / "leases"

    @property
    def staff(self) -> Path:
        """Of the staff pages' user alone: certificate and keys, which the guest's user can neither read nor make."""
        return self.data / "staff"

    @property
    def staff_passwords(self) -> Path:
        """The first passwords, for root to read, until each has been changed."""
        return self.data / "STAFF-PASSWORDS.txt"

    @property
    def site(self) -> Path:
        """The checked copy of site.toml that the running gateway was started with."""
        return self.run / "site.toml"
