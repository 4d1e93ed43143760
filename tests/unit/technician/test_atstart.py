"""Which changes of site.toml no trial shows."""

from __future__ import annotations

import pytest
from msgspec import structs

from portal.config import BOX, SiteConfig
from portal.domain import atstart

SITE = '[site]\ncode = "64.03.01.2001"\n'


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ("", '[uplink]\nkind = "pppoe"\nuser = "a"\n', ["uplink.kind", "uplink.user"]),
        ('[uplink]\npassword = "a"\ndown_kbit = 800\n', '[uplink]\npassword = "b"\n', ["uplink.password"]),
        ('[wifi]\nssid = "a"\n', '[wifi]\nssid = "b"\n[management]\nvlan = 9\n', ["management.vlan", "wifi.ssid"]),
        ("[lan]\nisolate = false\n", "[lan]\nlease_minutes = 5\n", ["lan.isolate"]),
        ("", '[uplink]\ndns = ["203.0.113.53"]\n[portal]\nport = 8081\n', []),
        ("[uplink]\nvlan = 5 # five\n", "[uplink]\nvlan = 5\n", []),
    ],
)
def test_changed_keys_that_a_box_reads_as_it_starts(old: str, new: str, keys: list[str]) -> None:
    assert atstart.waiting(SITE + old, SITE + new) == keys


def test_every_key_that_only_a_box_uses_is_among_them() -> None:
    tables = [table for table in structs.fields(SiteConfig) if hasattr(table.type, "__struct_fields__")]
    found = [
        f"{table.name}.{field.name}"
        for table in tables
        for field in structs.fields(table.type)
        if any(BOX in (meta.description or "") for meta in getattr(field.type, "__metadata__", ()))
    ]
    assert len(found) > 10
    assert [key for key in found if key not in atstart.KEYS and key.partition(".")[0] not in atstart.TABLES] == []
