"""Every page that a villager may meet, as the state of site and gate that leads to it. It must not know who looks.

Unit tests measure and read them, and a browser shows them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from portal.config import Portal, SiteConfig
from portal.domain.model import (
    CLOCK_NOT_SET,
    BudgetLeft,
    Notice,
    Opening,
    Person,
    Place,
    Refusal,
    Uplink,
    UplinkState,
)
from portal.gatekeeper import Refused
from tests.unit.guest.fake_gate import MIDNIGHT, NOW, RETURN_CODE, VOUCHER, FakeGate

HOUR_S = 3600.0
AT_16 = NOW.wall_s + 6 * HOUR_S + 48 * 60
AT_22 = AT_16 + 6 * HOUR_S
ALL = ("terms", "voucher", "account")
PLAN = {
    "id": "warga",
    "name": "Warga",
    "down_kbit": 5000,
    "up_kbit": 1500,
    "session_minutes": 480,
    "daily_minutes": 180,
    "daily_megabytes": 1000,
}
OFFICE = {"id": "kantor", "name": "kantor desa", "session_minutes": None, "hours": ["mon-fri 07:00-24:00"]}
CLINIC = {"id": "puskesmas", "name": "puskesmas", "hours": ["always"]}
HOLIDAYS = [
    {"first": "2026-06-01", "reason": "Hari Lahir Pancasila"},
    {"first": "2026-12-25", "last": "2026-12-27", "reason": "Libur Natal"},
]
HOURS = {"open": ["mon-fri 16:00-22:00", "sat 08:00-12:00 13:00-22:00"]}
NEWS = [
    Notice(
        7,
        "Posyandu hari Kamis",
        "Penimbangan balita **Kamis, 4 Juni** pukul 08.00 di balai desa.\n\n* Bawa buku KIA\n* Vitamin A gratis\n\n"
        "Keterangan: [puskesmas](https://puskesmas.example/jadwal)",
        None,
        None,
        NOW.wall_s,
    ),
    Notice(8, "Jalan ditutup", "Jalan ke dermaga ditutup sampai Jumat karena perbaikan.", None, None, NOW.wall_s),
]


def _nothing(gate: FakeGate, mac: str) -> None:
    """As it is."""


@dataclass(frozen=True)
class Scene:
    """``path`` shows it, or ``form`` (action, fields) leads to it. ``says``: what a villager must read there."""

    says: tuple[str, ...]
    path: str = "/"
    form: tuple[str, dict[str, str]] | None = None
    methods: tuple[str, ...] = ALL
    set: Callable[[FakeGate, str], None] = _nothing
    plan: dict[str, Any] = field(default_factory=dict)
    garden: tuple[str, ...] = ()
    contact: str = "Pak Rahmat di kantor desa"

    def config(self) -> SiteConfig:
        config = msgspec.convert(
            {
                "site": {"code": "64.03.01.2001", "name": "Desa Muara Kaman Ulu", "contact": self.contact},
                "access": {"methods": self.methods, "capacity": 40},
                "hours": HOURS,
                "garden": {"names": self.garden},
                "closed": HOLIDAYS,
                "block": {"names": ["judi.example"], "reason": "Situs judi ditutup di jaringan sekolah."},
                "plan": [PLAN | self.plan, OFFICE, CLINIC],
            },
            SiteConfig,
        )
        return msgspec.structs.replace(config, portal=Portal(name="localhost", terms_version="3"))

    def gate(self, macs: dict[str, str], mac: str) -> FakeGate:
        gate = FakeGate(macs, self.methods)
        gate.left_s, gate.used = 28_500.0, (12_400_000, 530_000_000)
        gate.codes, gate.accounts = {VOUCHER: 1}, {"kantor": "rahasia"}
        self.set(gate, mac)
        return gate


def opening(is_open: bool, until_wall_s: float | None, reason: str | None = None) -> Callable[[FakeGate, str], None]:
    def change(gate: FakeGate, _: str) -> None:
        gate.opening = Opening(is_open, until_wall_s, reason)

    return change


def place(ahead: int, kept_until_boot_s: float | None = None) -> Callable[[FakeGate, str], None]:
    def change(gate: FakeGate, mac: str) -> None:
        gate.full = True
        gate.places[mac] = Place(ahead, kept_until_boot_s is not None, kept_until_boot_s)

    return change


def moved(method: str) -> Callable[[FakeGate, str], None]:
    def change(gate: FakeGate, mac: str) -> None:
        gate.moved[mac] = NOW.wall_s - 60
        gate.people[mac] = Person(1, RETURN_CODE, method, "warga", None, None)

    return change


def refuses(
    refusal: Refusal,
    until_wall_s: float | None = None,
    reason: str | None = None,
    wait_s: float | None = None,
) -> Callable[[FakeGate, str], None]:
    def change(gate: FakeGate, _: str) -> None:
        gate.refuses = Refused(refusal, until_wall_s=until_wall_s, reason=reason, wait_s=wait_s)

    return change


def budget(seconds: float | None, n_bytes: int | None, *, online: bool = False) -> Callable[[FakeGate, str], None]:
    def change(gate: FakeGate, mac: str) -> None:
        if online:
            gate.enter_by_terms(mac, gate.ip_of(mac), "3")
        gate.left = BudgetLeft(seconds, n_bytes, 0 in (seconds, n_bytes), MIDNIGHT)

    return change


def _full(gate: FakeGate, _: str) -> None:
    gate.full = True


def _online_until_22(gate: FakeGate, mac: str) -> None:
    budget(4000.0, 1_000_000_000, online=True)(gate, mac)
    gate.opening = Opening(True, NOW.wall_s + 2 * HOUR_S + 48 * 60)


def _ruled(rule: str) -> Callable[[FakeGate, str], None]:
    def change(gate: FakeGate, mac: str) -> None:
        gate.rules[mac] = rule
        if rule == "allow":
            gate.enter_by_rule(mac, gate.ip_of(mac))

    return change


def _uplink(state: UplinkState) -> Callable[[FakeGate, str], None]:
    def change(gate: FakeGate, mac: str) -> None:
        gate.state = Uplink(state, NOW.wall_s - 600)

    return change


def _news(gate: FakeGate, _: str) -> None:
    gate.news = NEWS
    gate.opening = Opening(False, MIDNIGHT + 16 * HOUR_S, "Rapat desa")
    gate.state = Uplink(UplinkState.DOWN, NOW.wall_s)


CODE = ("/code", {"code": "abcd efgh"})
TRY = ("/code", {"code": VOUCHER})

SCENES: dict[str, Scene] = {
    "terms": Scene(("Selamat datang", "Masuk ke internet", "3 jam dan 1 GB"), methods=("terms",)),
    "all": Scene(("Masuk ke internet", "Punya kode?", "Pakai kode ini", "Punya akun kantor?")),
    "voucher": Scene(("ketik kode dari kartu Anda", "Kode Anda"), methods=("voucher",)),
    "account": Scene(("pakai akun kantor Anda", "Nama akun", "Kata sandi"), methods=("account",)),
    "closed": Scene(
        (
            "Tutup sampai pukul 16.00",
            "Jam buka hari ini: 16.00 sampai 22.00.",
            "kaltimprov.go.id, bpjs",
            "Punya akun kantor?",
        ),
        set=opening(False, AT_16),
        garden=("kaltimprov.go.id", "bpjs-kesehatan.go.id"),
    ),
    "closed-tomorrow": Scene(("Tutup sampai besok pukul 08.00",), set=opening(False, MIDNIGHT + 8 * HOUR_S)),
    "holiday": Scene(
        ("Tutup sampai Selasa pukul 16.00", "Alasan: Hari Lahir Pancasila"),
        set=opening(False, MIDNIGHT + 3 * 24 * HOUR_S + 16 * HOUR_S, "Hari Lahir Pancasila"),
        methods=("terms",),
    ),
    "closed-for-long": Scene(
        ("Sedang tutup", "Alasan: perbaikan menara"), set=opening(False, None, "perbaikan menara")
    ),
    "clock": Scene(("Jam di alat Wi-Fi ini belum benar", "setiap menit"), set=opening(False, None, CLOCK_NOT_SET)),
    "full": Scene(("Sedang penuh", "Ikut antre"), set=_full),
    "queue": Scene(("Anda sedang antre", "3 orang di depan Anda.", "setiap 15 detik"), set=place(3)),
    "queue-first": Scene(("Anda yang paling depan",), set=place(0), methods=("terms",)),
    "called": Scene(("Giliran Anda!", "pukul 09.13", "Masuk ke internet"), set=place(0, NOW.boot_s + 100)),
    "budget-stop": Scene(
        ("Jatah Anda hari ini sudah habis", "mulai tengah malam nanti"),
        set=budget(0.0, None),
        plan={"after_budget": "stop"},
    ),
    "budget-slow": Scene(("Jatah Anda hari ini sudah habis", "pelan", "Masuk ke internet"), set=budget(None, 0)),
    "blocked": Scene(("HP ini tidak bisa masuk", "Pak Rahmat"), set=_ruled("block")),
    "moved": Scene(
        ("Kode Anda dipakai di HP lain pukul 09.11", "Kalau itu bukan Anda", "Ya, itu saya", "tekan tombol masuk"),
        set=moved("terms"),
    ),
    "moved-voucher": Scene(("ketik kode kembali Anda di bawah",), set=moved("voucher"), methods=("voucher",)),
    "code-wrong": Scene(("Kode ini tidak benar", "satu per satu", "Angka 0 dan 1"), form=CODE),
    "code-wrong-terms": Scene(("Kode ini tidak benar",), form=CODE, methods=("terms",)),
    "code-early": Scene(("baru berlaku mulai pukul 16.00",), form=TRY, set=refuses(Refusal.CODE_EARLY, AT_16)),
    "code-late": Scene(
        ("hanya berlaku sampai kemarin pukul 09.12", "Mintalah kode baru"),
        form=TRY,
        set=refuses(Refusal.CODE_LATE, NOW.wall_s - 24 * HOUR_S),
    ),
    "code-used": Scene(("sudah dipakai di HP lain", "kode kembalinya"), form=TRY, set=refuses(Refusal.CODE_USED)),
    "attempts": Scene(("Tunggu 8 menit",), form=TRY, set=refuses(Refusal.ATTEMPTS, wait_s=421.0)),
    "account-wrong": Scene(
        ("Nama akun atau kata sandi salah",), form=("/account", {"name": "kantor", "password": "salah"})
    ),
    "devices": Scene(
        ("Putuskan dulu salah satu",),
        form=("/account", {"name": "kantor", "password": "rahasia"}),
        set=refuses(Refusal.DEVICES),
    ),
    "qr": Scene(("Kode Anda", "ABCD-EFGJ", "Masuk ke internet"), path=f"/v/{VOUCHER}"),
    "qr-online": Scene(
        ("HP ini sudah masuk", "Pakai kode ini"), path=f"/v/{VOUCHER}", set=budget(None, None, online=True)
    ),
    "qr-wrong": Scene(("Kode ini tidak benar",), path="/v/ABCDEFGH"),
    "status": Scene(
        ("Anda sudah masuk", "Sisa jatah data hari ini", "Tutup", "pukul 12.00", "2222-222Z", "Putuskan sambungan"),
        path="/status",
        set=_online_until_22,
    ),
    "return": Scene(
        ("Kode kembali Anda", "2222-222Z", "pindai gambar ini"),
        path="/return",
        set=budget(None, None, online=True),
    ),
    "status-slow": Scene(
        ("Jatah Anda hari ini sudah habis", "pelan (unduh 256 kbps, unggah 128 kbps)", "sampai tengah malam nanti"),
        path="/status",
        set=budget(3600.0, 0, online=True),
    ),
    "status-rule": Scene(("Anda sudah masuk",), path="/status", set=_ruled("allow")),
    "degraded": Scene(("Internet sedang lambat",), set=_uplink(UplinkState.DEGRADED), methods=("terms",)),
    "down": Scene(("Internet terputus sejak 09.02",), set=_uplink(UplinkState.DOWN), methods=("terms",)),
    "info": Scene(
        (
            "Posyandu hari Kamis",
            "Bawa buku KIA",
            "Senin–Jumat",
            "16.00 sampai 22.00",
            "08.00 sampai 12.00, 13.00 sampai 22.00",
            "Minggu",
            "Untuk puskesmas",
            "Setiap hari",
            "Libur Natal",
            "Alasan: Rapat desa",
            "Pak Rahmat",
        ),
        path="/info",
        set=_news,
    ),
    "notice": Scene(("Jalan ke dermaga ditutup",), path="/info/8", set=_news),
    "name": Scene(
        ("Situs ini ditutup", "judi.example", "Situs judi ditutup di jaringan sekolah."),
        path="/blocked?name=judi.example",
    ),
}
