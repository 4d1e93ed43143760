"""Any heap of batches is told right: what is missing, there twice, altered or cut short, and nothing else."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal import batchfiles, sealing
from portal.domain import batch, batchcheck
from portal.domain.batch import Class
from portal.domain.batchcheck import Code, Report
from portal.sealing import SigningKey
from tests.unit.outbox.making import GATEWAY, OFFICE, OTHER_EPOCH, Maker

MANY = Maker().fill(12).files
NAMES = sorted(MANY)


def check(files: dict[str, bytes], known: list[str] | None = None) -> Report:
    return batchcheck.check([batchfiles.parsed(name, content) for name, content in files.items()], known)


def codes(report: Report) -> Counter[Code]:
    return Counter(found.code for found in report.findings)


def test_all_of_them_are_good_in_any_order() -> None:
    files = list(MANY.items())
    random.Random(1).shuffle(files)
    report = check(dict(files))
    assert report.good
    assert not report.findings
    assert [one.header.number for one in report.chains[0].batches] == list(range(1, 13))


@given(st.sets(st.integers(1, 12)))
def test_of_any_subset_exactly_the_gaps_are_told(numbers: set[int]) -> None:
    report = check({NAMES[number - 1]: MANY[NAMES[number - 1]] for number in numbers})
    gaps = {number for number in range(min(numbers, default=1), max(numbers, default=0)) if number not in numbers}
    missing: set[int] = set()
    for found in report.findings:
        if found.code is Code.GAP:
            words = found.message.split(" of ")[0].split()
            missing |= set(range(int(words[1]), int(words[-1]) + 1))
    assert missing == gaps
    assert codes(report)[Code.BEGINS] == (bool(numbers) and min(numbers) > 1)
    assert set(codes(report)) <= {Code.GAP, Code.BEGINS}
    assert report.good == (not gaps)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8))
def test_each_copy_is_told_and_nothing_is_wrong_with_it(copied: list[str]) -> None:
    files = dict(MANY)
    for place, name in enumerate(copied):
        files[f"copy-{place}-{name}"] = MANY[name]
    found = codes(check(files))
    assert found == {Code.DUPLICATE: len(copied), Code.NAME: len(copied)}


@given(st.sampled_from(NAMES), st.data())
def test_every_flipped_bit_is_found_in_the_right_file(name: str, data: st.DataObject) -> None:
    content = bytearray(MANY[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    report = check(MANY | {name: bytes(content)})
    assert not report.good
    wrong = [found for found in report.findings if found.code not in (*batchcheck.NOTES, Code.GAP)]
    assert [found.where for found in wrong] == [name]
    assert codes(report)[Code.GAP] == (name not in (NAMES[0], NAMES[-1]))


@given(st.sampled_from(NAMES), st.data())
def test_a_file_cut_short_anywhere_is_found(name: str, data: st.DataObject) -> None:
    content = MANY[name][: data.draw(st.integers(0, len(MANY[name]) - 1))]
    found = [one for one in check(MANY | {name: content}).findings if one.where == name]
    assert next(one.code for one in found) in (Code.TRUNCATED, Code.NO_BATCH)


@given(st.sampled_from(NAMES), st.binary(min_size=1, max_size=40))
def test_a_file_with_more_behind_it_is_found(name: str, more: bytes) -> None:
    assert codes(check(MANY | {name: MANY[name] + more}))[Code.ALTERED] == 1


@given(st.binary(max_size=400))
def test_any_bytes_are_a_sentence(content: bytes) -> None:
    (found,) = check({"x.gbatch": content}).findings
    assert found.code in (Code.NO_BATCH, Code.ALTERED, Code.TRUNCATED, Code.FORMAT)


def test_a_batch_without_its_seal_passes_for_dropped_only_if_the_gateway_says_so() -> None:
    maker = Maker().fill(3)
    name = sorted(maker.files)[1]
    stripped = maker.files[name][: -maker.headers[1].sealed.bytes]
    assert codes(check(maker.files | {name: stripped}))[Code.TRUNCATED] == 1
    maker.drop(2)
    report = check(maker.files)
    assert report.good
    assert codes(report) == {Code.DROPPED: 1}
    assert "stretches of 2026-10-02: 1 stretch" in report.findings[0].message


def test_a_batch_that_was_dropped_after_it_was_taken_is_there_whole() -> None:
    maker = Maker().fill(3)
    whole = maker.files[sorted(maker.files)[1]]
    maker.drop(2)
    report = check({**maker.files, "whole.gbatch": whole})
    assert codes(report) == {Code.DUPLICATE: 1, Code.NAME: 1}
    assert report.chains[0].batches[1].body is not None


def test_two_batches_of_one_number_are_no_copies() -> None:
    first, second = Maker().fill(3), Maker().fill(2)
    second.add([{"kind": "stretch", "id": "another"}], kind=Class.STRETCHES)
    name = sorted(second.files)[2]
    report = check(first.files | {"z.gbatch": second.files[name]})
    assert codes(report)[Code.FORK] == 1
    assert not report.good


def test_a_batch_of_another_past_does_not_continue_this_one() -> None:
    first, second = Maker().fill(2), Maker()
    second.add([{"kind": "stretch", "id": "another"}], kind=Class.STRETCHES)
    second.fill(2)
    name = sorted(second.files)[2]
    assert codes(check(first.files | {name: second.files[name]}))[Code.CHAIN] == 1


def test_a_batch_signed_by_another_is_not_this_gateway_s() -> None:
    name, content = next(iter(MANY.items()))
    ours = batch.from_file(content)
    forged = batch.to_file(ours.head, SigningKey(bytes(32)).sign(batch.FORMAT, ours.head), ours.body)
    assert codes(check({name: forged})) == {Code.SIGNATURE: 1}


def test_only_gateways_that_were_noted_are_believed() -> None:
    stranger = Maker(signing=SigningKey(bytes(32))).fill(2)
    noted = [GATEWAY.public.hex()]
    assert check(stranger.files).good
    assert codes(check(stranger.files, noted)) == {Code.STRANGER: 2}
    assert check(MANY, noted).good


def test_a_new_epoch_names_the_last_batch_before_it() -> None:
    first = Maker().fill(3)
    second = Maker(epoch=OTHER_EPOCH, began="2026-12-01T00:00:00Z", previous=first.previous).fill(2)
    assert check(first.files | second.files).good
    without_last = {name: first.files[name] for name in sorted(first.files)[:2]}
    assert codes(check(without_last | second.files)) == {Code.GAP: 1}
    assert codes(check(second.files)) == {Code.BEGINS: 1}


def test_a_format_of_tomorrow_is_told_apart_from_damage() -> None:
    name, content = next(iter(MANY.items()))
    assert codes(check({name: content.replace(b"gerbang-batch/1", b"gerbang-batch/2")})) == {Code.FORMAT: 1}


@given(st.lists(st.integers(1, 4), max_size=8))
@settings(max_examples=30)
def test_parts_are_counted(sizes: list[int]) -> None:
    maker = Maker()
    for day, parts in enumerate(sizes, 1):
        for part in range(1, parts + 1):
            maker.add([{"kind": "session", "id": "x"}], day=f"2026-10-{day:02}", part=part, parts=parts)
    report = check(maker.files)
    assert report.good
    assert not report.findings


def test_parts_that_do_not_belong_together_are_told() -> None:
    maker = Maker()
    maker.add([{"kind": "session", "id": "x"}], part=1, parts=2)
    maker.add([{"kind": "session", "id": "y"}], day="2026-11-25")
    assert codes(check(maker.files))[Code.PARTS] == 1


# --- what holds -----------------------------------------------------------------------------------------------------


def held(maker: Maker, *more: Maker) -> list[int]:
    files = dict(maker.files)
    for other in more:
        files |= other.files
    return [one.header.number for one in batchcheck.holding(check(files).chains)]


def test_the_last_revision_of_a_day_holds() -> None:
    maker = Maker()
    for revision in (1, 2, 3):
        maker.add([{"kind": "session", "id": "x"}], revision=revision)
    assert held(maker) == [3]
    maker.drop(3)
    assert held(maker) == [2]


def test_a_revision_of_which_a_part_is_missing_does_not_hold() -> None:
    maker = Maker()
    maker.add([{"kind": "session", "id": "x"}])
    for part in (1, 2):
        maker.add([{"kind": "session", "id": "x"}], revision=2, part=part, parts=2)
    assert held(maker) == [2, 3]
    del maker.files[sorted(maker.files)[2]]
    assert held(maker) == [1]


def test_what_tells_more_of_a_day_holds_against_a_newer_epoch() -> None:
    first = Maker()
    first.add([{"kind": "session", "id": "x"}])
    second = Maker(epoch=OTHER_EPOCH, began="2026-12-01T00:00:00Z", previous=first.previous)
    second.add([{"kind": "stretch", "id": "x"}], kind=Class.STRETCHES, day="2026-11-30")
    second.add([{"kind": "session", "id": "x"}], missing_s=43_200)
    assert held(first, second) == [1, 1]
    second.add([{"kind": "session", "id": "x"}], revision=2)
    assert held(first, second) == [3, 1]


# --- a directory ----------------------------------------------------------------------------------------------------


def test_a_directory_is_opened_with_the_office_s_key_alone(tmp_path: Path) -> None:
    assert batchfiles.export(tmp_path, MANY.values()).written == 12
    (tmp_path / "README.txt").write_text("no batch")
    assert batchfiles.check(tmp_path, secret=OFFICE).good
    assert batchfiles.check(tmp_path, [GATEWAY.fingerprint.upper()], OFFICE).good
    assert codes(batchfiles.check(tmp_path, ["0000-0000-0000-0000-0000"])) == {Code.STRANGER: 12}
    assert codes(batchfiles.check(tmp_path, secret=sealing.new_office_secret())) == {Code.SEALED: 12}
    with pytest.raises(FileNotFoundError):
        batchfiles.check(tmp_path / "no such")


# --- limits ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1300), st.integers(0, 900), st.integers(0, 99))
@settings(max_examples=25)
def test_both_limits_hold_whatever_the_records_are(count: int, size: int, seed: int) -> None:
    source = random.Random(seed)
    records = [{"kind": "x", "id": source.randbytes(size).hex()} for _ in range(count)]
    lines = batch.lines_of(records)
    parts = batch.packed(lines)
    assert sum(number for number, _ in parts) == count
    assert all(number <= 500 for number, _ in parts)
    assert all(len(content) + batch.SEAL_BYTES + batch.MAX_HEADER_BYTES + 130 <= 65_536 for _, content in parts)
    assert [record for _, content in parts for record in batch.unpacked(content)] == records


def test_a_record_that_is_too_long_is_no_record() -> None:
    with pytest.raises(ValueError, match="2048"):
        batch.lines_of([{"kind": "x", "id": "y" * 2048}])


def test_what_unpacks_to_too_much_is_refused() -> None:
    import gzip

    with pytest.raises(batch.BatchError, match="no gzip"):
        batch.unpacked(gzip.compress(b'{"kind":"x"}\n' * 200_000))
    with pytest.raises(batch.BatchError, match="no gzip"):
        batch.unpacked(gzip.compress(b'{"kind":"x"}\n' * 501))
