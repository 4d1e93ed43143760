"""How long the command takes that writes a report of a year, in each format, and how much memory it takes at most.

It must not know how a report is made.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from bench.result import Reach, Result
from bench.village_year import Year, make_year
from portal.store import rollups
from portal.store.db import Database

ROUNDS: Final = 3
FORMATS: Final = {"xlsx": (), "html": (), "csv-id": ("--table", "sesi"), "csv": ("--table", "sesi")}
REACH_S: Final = {"xlsx": Reach(at_most=10.0)}


def report_year() -> Iterator[Result]:
    """report_year_*_s: from the command to its end, start of Python and of the file included; report_year_peak_mb."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        year = make_year(home / "gerbang.db")
        (home / "site.toml").write_text(_site(year))
        with closing(Database(year.path)) as database, database.write() as db:
            rollups.catch_up(db, ZoneInfo(year.config.site.timezone))  # as the hourly housekeeping has it done before
        peak = 0.0
        for form, more in FORMATS.items():
            out = home / f"report.{form}"
            taken = [_report(home, year, form, out, *more) for _ in range(ROUNDS)]
            peak = max(peak, *(mb for _, mb in taken))
            times = [seconds for seconds, _ in taken]
            note = f"{len(year.stays)} sessions; the file has {out.stat().st_size / 1e6:.1f} MB"
            key = f"report_year_{form.replace('-', '_')}_s"
            yield Result(key, statistics.median(times), "s", REACH_S.get(form, Reach()), None, times, note)
        yield Result("report_year_peak_mb", peak, "MB", Reach(), note="largest resident size of any of them")


def _site(year: Year) -> str:
    plans = "".join(f'[[plan]]\nid = "{plan.id}"\nname = "{plan.name}"\n' for plan in year.config.plan)
    return f'[site]\ncode = "{year.config.site.code}"\ntimezone = "{year.config.site.timezone}"\n{plans}'


def _report(home: Path, year: Year, form: str, out: Path, *more: str) -> tuple[float, float]:
    """(seconds, megabytes at most)"""
    out.unlink(missing_ok=True)
    places = ("--site", str(home / "site.toml"), "--run-dir", str(home), "--data-dir", str(home))
    command = (sys.executable, "-m", "portal.cli", "report", "--year", str(year.first.year), "--format", form)
    began_s, peak_kb = time.monotonic(), 0
    with subprocess.Popen([*command, *more, *places, "--out", str(out)], stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:  # and not wait4's figure, which counts this process's size before the exec too
            peak_kb = max(peak_kb, _peak_kb(running.pid))
            time.sleep(0.01)
        took_s = time.monotonic() - began_s
    if running.returncode:
        raise RuntimeError(f"the report as {form} ended with {running.returncode}")
    return took_s, peak_kb / 1024


def _peak_kb(pid: int) -> int:
    """The largest resident size so far (VmHWM, proc(5)); 0 where it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) if found else 0
