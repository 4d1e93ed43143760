"""What each act changes, who is cut off by it, what the audit trail says and what it never says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from netctl.api import errors
from netctl.api.errors import NetctlError
from portal import passwords
from portal.administration import Administration, Change
from portal.domain.asking import MAX_NOTICES, PROBLEMS, AdministrationError
from portal.domain.model import EndReason, Session
from portal.domain.office import VoucherState
from portal.store import accounts, audit, closures, devices, notices, people, vouchers
from portal.store.db import Database, StoreError
from tests.unit.administration.conftest import PHONE, TABLET, Query
from tests.unit.portal.fakes import Clock, Netctl

Online = Callable[..., Session]


def refusal(act: Callable[..., Any], *given: Any, **named: Any) -> str:
    with pytest.raises(AdministrationError) as raised:
        act(*given, **named)
    assert raised.value.message.endswith(".") and raised.value.hint.endswith(".")
    return raised.value.code


def reason_of(query: Query, session: Session) -> object:
    return query("SELECT end_reason FROM session WHERE id = ?", session.id)[0][0]


def last_entry(database: Database) -> tuple[str, str, str, str, Any, Any]:
    with database.read() as db:
        (entry,) = audit.latest(db, 1)
    before, after = (None if text is None else json.loads(text) for text in (entry.before, entry.after))
    return entry.actor, entry.role, entry.action, entry.object, before, after


# --- vouchers -------------------------------------------------------------------------------------------------------


def test_a_batch_has_so_many_different_codes(office: Administration, database: Database, clock: Clock) -> None:
    until = clock.now.wall_s + 86_400
    made = office.create_vouchers(40, "warga", devices=2, valid_until_wall_s=until, note=" posyandu ").value
    assert len({voucher.code for voucher in made.vouchers}) == 40
    assert all(voucher.batch == made.batch and voucher.bound == 0 for voucher in made.vouchers)
    assert (made.batch.plan, made.batch.devices, made.batch.note) == ("warga", 2, "posyandu")
    assert made.batch.created_by == "sari"
    with database.read() as db:
        (count,) = vouchers.batches(db, clock.now.wall_s)
        found = vouchers.by_code(db, made.vouchers[7].code)
    assert (count.batch, count.total, count.unused) == (made.batch, 40, 40)
    assert found == made.vouchers[7]


def test_states_of_vouchers_are_told_apart(office: Administration, database: Database, clock: Clock) -> None:
    until = clock.now.wall_s + 3600
    made = office.create_vouchers(4, "warga", devices=2, valid_until_wall_s=until).value
    office.void_voucher(made.vouchers[0].id)
    with database.write() as db:
        assert vouchers.bind(db, made.vouchers[1].id, PHONE, clock())

    def states() -> list[VoucherState]:
        with database.read() as db:
            (count,) = vouchers.batches(db, clock.now.wall_s)
            found = [voucher.state(clock.now.wall_s) for voucher in vouchers.of_batch(db, made.batch.id)]
        for state in VoucherState:  # the numbers of a batch and the state of each voucher never disagree
            assert getattr(count, state.value) == found.count(state)
        return found

    void, used, unused, expired = VoucherState.VOID, VoucherState.USED, VoucherState.UNUSED, VoucherState.EXPIRED
    assert states() == [void, used, unused, unused]
    clock.forward(3600)
    assert states() == [void, expired, expired, expired]
    clock.set_wall(5.0)  # a clock that lost its time expires nothing
    assert states() == [void, used, unused, unused]


def test_a_voucher_binds_as_many_devices_as_it_is_for(office: Administration, database: Database, clock: Clock) -> None:
    (voucher,) = office.create_vouchers(1, "warga", devices=2).value.vouchers
    third = "5c:e9:1e:00:00:03"
    with database.write() as db:
        assert vouchers.bind(db, voucher.id, PHONE, clock())
        assert vouchers.bind(db, voucher.id, TABLET, clock())
        assert not vouchers.bind(db, voucher.id, third, clock())
        assert vouchers.bind(db, voucher.id, PHONE, clock()), "one that is bound stays so"
        vouchers.rebind(db, voucher.id, PHONE, third, clock())
        assert set(vouchers.devices_of(db, voucher.id)) == {TABLET, third}


def test_voiding_a_voucher_cuts_who_came_in_by_it_and_nobody_else(
    office: Administration, netctl: Netctl, query: Query, online: Online
) -> None:
    first, second = office.create_vouchers(2, "warga").value.vouchers
    cut = online(PHONE, method="voucher", voucher_id=first.id)
    stays = online(TABLET, method="voucher", voucher_id=second.id)
    office.void_voucher(first.id)
    assert reason_of(query, cut) == EndReason.VOIDED
    assert reason_of(query, stays) is None
    assert netctl.online() == [TABLET]
    assert refusal(office.void_voucher, first.id) == "done-already"
    assert refusal(office.void_voucher, 999) == "voucher-unknown"


def test_voiding_a_batch(office: Administration, netctl: Netctl, query: Query, online: Online) -> None:
    made = office.create_vouchers(3, "warga").value
    cut = online(PHONE, method="voucher", voucher_id=made.vouchers[2].id)
    stays = online(TABLET)
    office.void_voucher(made.vouchers[0].id)
    assert office.void_batch(made.batch.id).value == 2
    assert (reason_of(query, cut), reason_of(query, stays)) == (EndReason.VOIDED, None)
    assert netctl.online() == [TABLET]
    assert refusal(office.void_batch, made.batch.id) == "done-already"
    assert refusal(office.void_batch, 999) == "batch-unknown"


@pytest.mark.parametrize(
    ("count", "plan", "options", "code"),
    [
        (0, "warga", {}, "number-range"),
        (1001, "warga", {}, "number-range"),
        (1, "warga", {"devices": 0}, "number-range"),
        (1, "gratis", {}, "plan-unknown"),
        (1, "warga", {"note": "a\nb"}, "text-wrong"),
        (1, "warga", {"note": "x" * 201}, "text-wrong"),
        (1, "warga", {"valid_until_wall_s": 1_000_000.0}, "moment-past"),
        (1, "warga", {"valid_from_wall_s": 4e9, "valid_until_wall_s": 3.9e9}, "moments-order"),
    ],
)
def test_batches_that_cannot_be(
    office: Administration, query: Query, count: int, plan: str, options: dict[str, Any], code: str
) -> None:
    assert refusal(office.create_vouchers, count, plan, **options) == code
    assert query("SELECT count(*) FROM voucher_batch") == [(0,)]
    assert query("SELECT count(*) FROM audit") == [(0,)]


# --- accounts -------------------------------------------------------------------------------------------------------


def test_an_account_keeps_a_hash_and_says_nothing_of_it(
    office: Administration, database: Database, query: Query
) -> None:
    account = office.add_account("Puskesmas", "kucing hujan 5", "puskesmas", "dr. Ani").value
    with database.read() as db:
        kept = accounts.by_name(db, "PUSKESMAS")
    assert kept is not None and kept == account
    assert passwords.verify(kept.password_hash, "kucing hujan 5")
    assert "argon2" not in repr(kept)
    assert last_entry(database) == (
        "sari",
        "operator",
        "account.add",
        "account Puskesmas",
        None,
        {"plan": "puskesmas", "note": "dr. Ani", "disabled": False},
    )
    assert refusal(office.add_account, "puskesmas", "kucing hujan 6", "warga") == "name-taken"
    assert refusal(office.add_account, "kantor", "pendek", "warga") == "password-weak"
    assert refusal(office.add_account, "kantor desa", "kucing hujan 6", "warga") == "name-wrong"
    assert refusal(office.add_account, "kantor", "kucing hujan 6", "gratis") == "plan-unknown"
    assert query("SELECT count(*) FROM account") == [(1,)]


def test_a_new_password_puts_out_who_is_in_with_the_old_one_and_voids_the_return_code(
    office: Administration, database: Database, netctl: Netctl, query: Query, online: Online
) -> None:
    account = office.add_account("kantor", "kucing hujan 5", "kantor").value
    cut = online(PHONE, method="account", plan="kantor", account_id=account.id)
    stays = online(TABLET)
    with database.read() as db:
        before = people.of_account(db, account.id)
    office.set_account_password("KANTOR", "anggrek hitam 9")
    with database.read() as db:
        after, kept = people.of_account(db, account.id), accounts.by_id(db, account.id)
    assert before is not None and after is not None and before.id == after.id and before.code != after.code
    assert kept is not None and passwords.verify(kept.password_hash, "anggrek hitam 9")
    assert (reason_of(query, cut), reason_of(query, stays)) == (EndReason.VOIDED, None)
    assert netctl.online() == [TABLET]
    assert refusal(office.set_account_password, "sekolah", "anggrek hitam 9") == "account-unknown"


def test_disabling_and_enabling(office: Administration, netctl: Netctl, query: Query, online: Online) -> None:
    account = office.add_account("kantor", "kucing hujan 5", "kantor").value
    cut = online(PHONE, method="account", plan="kantor", account_id=account.id)
    office.set_account_disabled("kantor", True)
    assert reason_of(query, cut) == EndReason.VOIDED and netctl.online() == []
    assert refusal(office.set_account_disabled, "kantor", True) == "done-already"
    office.set_account_disabled("kantor", False)
    assert query("SELECT disabled FROM account") == [(0,)]


# --- devices and sessions -------------------------------------------------------------------------------------------


def test_blocking_cuts_at_once_and_says_by_whom(
    office: Administration, database: Database, netctl: Netctl, query: Query, online: Online, clock: Clock
) -> None:
    session, _ = online(PHONE), online(TABLET)
    clock.forward(60)
    device = office.block(PHONE.upper().replace(":", "-"), "menyebar virus").value
    assert (device.mac, device.rule, device.note, device.ruled_by) == (PHONE, "block", "menyebar virus", "sari")
    assert reason_of(query, session) == EndReason.BLOCKED
    assert netctl.online() == [TABLET]
    ((seconds,),) = query("SELECT seconds FROM person_day WHERE person_id = ?", session.person_id)
    assert seconds == pytest.approx(60, abs=0.1), "the time until then counts"
    _, _, action, thing, before, after = last_entry(database)
    assert (action, thing) == ("device.block", f"device {PHONE}")
    assert before["rule"] is None and after["rule"] == "block" and after["sessions_ended"] == 1


def test_a_device_never_seen_can_be_ruled_and_its_rule_be_undone(office: Administration, database: Database) -> None:
    office.allow(PHONE, "kantor", "PC bendahara")
    office.block(TABLET)
    with database.read() as db:
        assert [(device.mac, device.rule, device.rule_plan) for device in devices.ruled(db, "allow")] == [
            (PHONE, "allow", "kantor")
        ]
        assert len(devices.ruled(db)) == 2
    assert office.unrule(PHONE).value.rule is None
    assert refusal(office.unrule, PHONE) == "device-no-rule"
    assert refusal(office.unrule, "5c:e9:1e:00:00:09") == "device-no-rule"
    assert refusal(office.allow, PHONE, "gratis") == "plan-unknown"


def test_who_is_in_by_a_rule_leaves_with_it(
    office: Administration, netctl: Netctl, query: Query, online: Online
) -> None:
    office.allow(PHONE, "kantor")
    office.allow(TABLET, "kantor")
    by_rule, by_tap = online(PHONE, method="rule", plan="kantor"), online(TABLET)
    office.unrule(PHONE)
    office.unrule(TABLET)
    assert (reason_of(query, by_rule), reason_of(query, by_tap)) == (EndReason.STAFF, None)
    assert netctl.online() == [TABLET]


@pytest.mark.parametrize("text", ["", "5c:e9:1e:00:00", "5c:e9:1e:00:00:zz", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"])
def test_what_is_no_mac(office: Administration, text: str) -> None:
    assert refusal(office.block, text) == "mac-wrong"


def test_disconnecting_by_session_and_by_device(
    office: Administration, netctl: Netctl, query: Query, online: Online
) -> None:
    one, other = online(PHONE), online(TABLET)
    assert office.disconnect(one.id).value == one.id
    assert office.disconnect(TABLET).value == other.id
    assert (reason_of(query, one), reason_of(query, other)) == (EndReason.STAFF, EndReason.STAFF)
    assert netctl.online() == []
    assert refusal(office.disconnect, one.id) == "session-unknown"
    assert refusal(office.disconnect, PHONE) == "session-unknown"


# --- hours ----------------------------------------------------------------------------------------------------------


def test_closing_takes_out_all_but_those_who_are_always_open_and_cancelling_lets_them_in(
    office: Administration, netctl: Netctl, online: Online
) -> None:
    online(PHONE)
    online(TABLET, plan="puskesmas")
    act = office.close("Rapat desa").value
    assert netctl.online() == [TABLET]
    office.cancel(act.id)
    assert set(netctl.online()) == {PHONE, TABLET}
    assert refusal(office.cancel, act.id) == "done-already"
    assert refusal(office.cancel, 99) == "closure-unknown"


def test_a_closing_outlives_a_clock_that_was_ahead_and_is_put_right(
    office: Administration, database: Database, netctl: Netctl, online: Online, clock: Clock
) -> None:
    session = online(PHONE)
    right_s = clock.now.wall_s
    clock.set_wall(right_s + 5 * 365 * 86_400)
    act = office.close("Rapat desa").value
    assert act.from_wall_s == act.created_wall_s == clock.now.wall_s
    assert netctl.online() == []
    clock.set_wall(right_s)
    office.block(TABLET)  # any act pushes the state anew
    assert netctl.online() == []
    with database.read() as db:
        assert [shown.from_wall_s for shown in closures.pending(db, right_s)] == [act.created_wall_s]
    office.cancel(act.id)
    assert netctl.online() == [session.mac]


def test_acts_that_are_over_or_cancelled_no_longer_matter(
    office: Administration, database: Database, clock: Clock
) -> None:
    wall_s = clock.now.wall_s
    short = office.close("Hujan", until_wall_s=wall_s + 60).value
    later = office.open("Pasar malam", wall_s + 3600, wall_s + 7200).value
    cancelled = office.close("Salah").value
    office.cancel(cancelled.id)
    with database.read() as db:
        assert [act.id for act in closures.acts(db, wall_s)] == [short.id, later.id]
        assert [act.id for act in closures.acts(db, wall_s + 60)] == [later.id]
        assert [act.id for act in closures.pending(db, wall_s)] == [short.id, later.id]


def test_hours_that_cannot_be(office: Administration, clock: Clock) -> None:
    assert refusal(office.close, "") == "text-missing"
    assert refusal(office.close, "x" * 81) == "text-wrong"
    assert refusal(office.close, "Libur", None, clock.now.wall_s - 1) == "moment-past"
    later = clock.now.wall_s + 100
    assert refusal(office.open, "", later, later) == "moments-order"


# --- notices --------------------------------------------------------------------------------------------------------


def test_notices_come_change_and_go(office: Administration, database: Database, clock: Clock) -> None:
    wall_s = clock.now.wall_s
    made = office.write_notice("Posyandu", "Senin **pukul 8**", until_wall_s=wall_s + 60).value
    tomorrow = office.write_notice("Gotong royong", "Minggu", from_wall_s=wall_s + 60).value
    clock.forward(1)
    changed = office.write_notice("Posyandu", "Selasa\nbalai desa", notice_id=made.id, until_wall_s=wall_s + 60).value
    assert changed.id == made.id and changed.body == "Selasa\nbalai desa"
    assert last_entry(database)[4]["body"] == "Senin **pukul 8**"
    with database.read() as db:
        assert notices.shown(db, wall_s + 1) == [changed]
        assert [notice.id for notice in notices.shown(db, wall_s + 60)] == [tomorrow.id]
        assert {notice.id for notice in notices.every(db)} == {made.id, tomorrow.id}
    office.delete_notice(made.id)
    assert refusal(office.delete_notice, made.id) == "notice-unknown"
    assert refusal(office.write_notice, "Judul", "Isi", notice_id=made.id) == "notice-unknown"
    assert refusal(office.write_notice, "", "Isi") == "text-missing"
    assert refusal(office.write_notice, "Judul", " \n") == "text-missing"
    assert refusal(office.write_notice, "Judul", "x" * 2001) == "text-wrong"


def test_the_page_of_notices_has_an_end(office: Administration) -> None:
    for number in range(MAX_NOTICES):
        office.write_notice(f"Kabar {number}", "Isi")
    assert refusal(office.write_notice, "Satu lagi", "Isi") == "notices-full"


# --- one act is one transaction -------------------------------------------------------------------------------------


def test_netctl_away_is_said_and_is_no_error(
    office: Administration, netctl: Netctl, query: Query, online: Online, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.sync.RETRY_AFTER_S", 0.0)
    session = online(PHONE)
    netctl.failing = NetctlError(errors.UNREACHABLE, "No netctl.")
    done = office.block(PHONE)
    assert done.warning is not None and "No netctl." in done.warning
    assert reason_of(query, session) == EndReason.BLOCKED
    netctl.failing = None
    assert office.unrule(PHONE).warning is None


def test_an_act_that_fails_half_way_leaves_nothing(
    office: Administration, database: Database, query: Query, clock: Clock, netctl: Netctl
) -> None:
    before = query("SELECT generation FROM meta")

    def half(db: Any, now: Any) -> Change[None]:
        devices.set_rule(db, PHONE, rule="block", rule_plan=None, note="", ruled_by="sari", now=now)
        return Change(None, "device", after={"cannot": object()}, moves_people=True)

    with pytest.raises(TypeError):
        office.perform("device.block", half)
    assert query("SELECT count(*) FROM device") == query("SELECT count(*) FROM audit") == [(0,)]
    assert query("SELECT generation FROM meta") == before
    assert netctl.pushes == []


def test_a_broken_database_is_not_an_act(office: Administration, paths: Any) -> None:
    paths.database.unlink()
    with pytest.raises(StoreError):
        office.close("Rapat desa")


def test_the_generation_goes_on_with_what_moves_people_and_only_then(
    office: Administration, query: Query, netctl: Netctl
) -> None:
    ((first,),) = query("SELECT generation FROM meta")
    office.create_vouchers(1, "warga")
    office.write_notice("Judul", "Isi")
    assert netctl.pushes == []
    office.block(PHONE)
    assert netctl.pushes[-1].generation == query("SELECT generation FROM meta")[0][0] > first


def test_the_audit_trail_never_holds_a_secret(
    office: Administration, database: Database, query: Query, online: Online
) -> None:
    made = office.create_vouchers(3, "warga", note="posyandu").value
    online(PHONE, method="voucher", voucher_id=made.vouchers[0].id)
    office.void_voucher(made.vouchers[0].id)
    office.void_batch(made.batch.id)
    account = office.add_account("kantor", "kucing hujan 5", "kantor").value
    online(TABLET, method="account", account_id=account.id)
    office.set_account_password("kantor", "anggrek hitam 9")
    office.set_account_disabled("kantor", True)
    office.record("config.apply", "site.toml", {"lines": 3}, {"lines": 4})
    told = json.dumps(query("SELECT * FROM audit"))
    with database.read() as db:
        codes = [voucher.code for voucher in vouchers.of_batch(db, made.batch.id)]
        hashes = [kept.password_hash for kept in accounts.every(db)]
        returns = [str(row[0]) for row in db.execute("SELECT code FROM person")]
        entries = audit.latest(db, 3)
        older = audit.latest(db, 3, before_id=entries[-1].id)
    for secret in (*codes, *hashes, *returns, "kucing", "anggrek", "argon2"):
        assert secret not in told
    assert [entry.action for entry in (*entries, *older)] == [
        "config.apply",
        "account.disable",
        "account.password",
        "account.add",
        "voucher.void-batch",
        "voucher.void",
    ]


def test_every_problem_has_a_sentence_and_what_to_do() -> None:
    for code, (message, hint) in PROBLEMS.items():
        assert message.endswith((".", "}")) and hint.endswith("."), code
