"""What the bench says of its figures, and how it reads pages and answers. Nothing is measured here."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from bench import __main__ as command
from bench import visits
from bench.portal import subresources
from bench.result import Reach, Result, markdown, table
from bench.shaping import jain
from bench.traffic import Flow, goodput_kbit


class TestReach:
    @pytest.mark.parametrize(
        ("reach", "value", "holds", "text"),
        [
            (Reach(at_most=6), 6.0, True, "<= 6"),
            (Reach(at_most=6), 6.01, False, "<= 6"),
            (Reach(at_least=0.85), 0.849, False, ">= 0.85"),
            (Reach(0.98, 1.02), 1.02, True, "0.98 to 1.02"),
            (Reach(0.98, 1.02), 0.97, False, "0.98 to 1.02"),
            (Reach(0, 0), 1, False, "0"),
            (Reach(), 1e9, True, ""),
            (Reach(at_most=6), float("nan"), False, "<= 6"),
        ],
    )
    def test_bounds_are_inclusive_and_nothing_measured_never_holds(
        self, reach: Reach, value: float, holds: bool, text: str
    ) -> None:
        assert reach.holds(value) is holds
        assert str(reach) == text


class TestResult:
    GOOD = Result("page_ms", 2.371234, "ms", Reach(at_most=6), 0.5, [2.3, 2.4], "median")
    BAD = Result("storm_200_failures", 3, "phones", Reach(0, 0), note="3x reset")
    TOLD = Result("size", 12, "bytes")

    def test_json_has_what_the_task_names(self) -> None:
        found = json.loads(json.dumps(self.GOOD.as_json()))
        assert {"name", "value", "unit", "reach", "ok", "baseline", "samples"} <= found.keys()
        assert (found["value"], found["reach"], found["ok"], found["baseline"]) == (2.3712, "<= 6", True, 0.5)

    def test_tables_shout_what_falls_short_and_judge_nothing_without_a_reach(self) -> None:
        lines = table([self.GOOD, self.BAD, self.TOLD]).splitlines()
        assert " yes " in lines[1]
        assert " NO " in lines[2]
        assert " yes" not in lines[3] and " NO" not in lines[3]
        assert markdown([self.GOOD]).splitlines()[2].startswith("| `page_ms` | 2.3712 | ms | <= 6 | yes | 0.5 | 2 |")


class TestNames:
    @pytest.mark.parametrize(
        ("name", "group"),
        [
            ("page_ms", "single"),
            ("cpu_per_login_ms", "single"),
            ("cpu_per_packet_100_users", "cpu_per_packet"),
            ("storm_200_failures", "storm_200"),
            ("memory_pss_500_sessions_mb", "storm_500"),
            ("goodput_tcp_up", "goodput"),
            ("kill9_meter_bytes_off", "kill9"),
            ("restore", "restore"),
            ("guest_pages_ms", "guest_pages"),
            ("guest_wrong_password_ms", "guest_pages"),
            ("plan_change_cut", "plan_change"),
            ("budget_overshoot_10mbit_s", "budget_overshoot"),
        ],
    )
    def test_every_measure_leads_to_its_group(self, name: str, group: str) -> None:
        assert command.group_of(name) == group

    def test_an_unknown_one_is_refused_with_those_known(self) -> None:
        with pytest.raises(click.UsageError, match="fairness"):
            command.group_of("speed")


def test_the_table_of_a_document_is_renewed_and_the_rest_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "m.md"
    document.write_text(f"before\n{command.BEGIN}old\n{command.END}after\n")
    command._renew(document, [TestResult.GOOD])
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "`page_ms`" in text and "old" not in text


class TestPages:
    PAGE = """<form method="get" action="/search"><input name="q"></form>
        <form method="post" action="/login?lang=en"><input type="hidden" name="terms" value="1">
        <button>Go</button></form>
        <form method="post" action="/logout"><button name="really" value="yes">Out</button></form>"""

    def test_the_first_form_that_posts(self) -> None:
        found = visits.first_form(self.PAGE, "http://10.77.0.1/")
        assert found == ("http://10.77.0.1/login?lang=en", {"terms": "1"})

    def test_the_form_asked_for(self) -> None:
        found = visits.first_form(self.PAGE, "http://10.77.0.1/status", "logout")
        assert found == ("http://10.77.0.1/logout", {"really": "yes"})

    def test_a_page_without_one_is_an_error_that_names_it(self) -> None:
        with pytest.raises(visits.VisitError, match=r"10\.77\.0\.1"):
            visits.first_form("<p>Tutup</p>", "http://10.77.0.1/")

    def test_what_a_browser_would_fetch_besides(self) -> None:
        page = """<link rel="icon" href="data:,"><link rel="stylesheet" href="/s.css"><img src=/logo.png>
            <style>body{background:url("/b.svg")}</style><a href="/info">i</a>
            <svg><path d="M0"/></svg><script src='x.js'>"""
        assert sorted(subresources(page)) == ["/b.svg", "/logo.png", "/s.css", "x.js"]


class TestAnswers:
    def test_waits_for_the_whole_body(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        assert visits._whole(head + b"abc", ended=False, first_byte=False) is None
        whole = visits._whole(head + b"abcd", ended=False, first_byte=False)
        assert whole is not None and whole.body == b"abcd"

    def test_without_a_length_the_end_counts(self) -> None:
        head = b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nabc"
        assert visits._whole(head, ended=False, first_byte=False) is None
        assert visits._whole(head, ended=True, first_byte=False) is not None

    def test_a_cut_off_answer_is_none(self) -> None:
        cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
        assert visits._whole(cut, ended=True, first_byte=False) is None


class TestGoodput:
    def flow(self, *arrivals_s: float) -> Flow:
        flow = Flow(sender=None, receiver=None)  # type: ignore[arg-type]
        for now in arrivals_s:
            flow.arrived(125_000, now)
        return flow

    def test_leaves_the_first_arrival_out(self) -> None:
        assert goodput_kbit([self.flow(1.0, 2.0, 3.0)]) == 1000

    def test_of_several_flows_is_over_their_common_time(self) -> None:
        stalled = self.flow(1.0, 2.0)
        assert goodput_kbit([self.flow(1.0, 2.0, 3.0), stalled]) == 1500

    def test_of_nothing(self) -> None:
        assert goodput_kbit([self.flow()]) == 0


def test_jain() -> None:
    assert jain([2.0] * 10) == pytest.approx(1)
    assert jain([1.0] + [0.0] * 9) == pytest.approx(0.1)
