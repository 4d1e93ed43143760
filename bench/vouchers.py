"""How long the command takes that makes and prints a batch of 1000 vouchers. It must not know how they are drawn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.result import Reach, Result
from portal.store import setup

COUNT = 1000
ROUNDS = 3
REACH_S = 5.0
SHEETS = {"pdf_a4": ("sheet.pdf", "a4"), "pdf_receipt": ("roll.pdf", "receipt"), "html_a4": ("sheet.html", "a4")}
SITE = """
[site]
code = "64.03.01.2001"
name = "Desa Uji"
[[plan]]
id = "warga"
name = "Warga"
down_kbit = 5000
daily_minutes = 120
daily_megabytes = 500
"""


def voucher_batch() -> Iterator[Result]:
    """voucher_batch_*_s: from the command to its end, start of Python, commit to the disk and file included."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "site.toml").write_text(SITE)
        setup.ensure(home / "gerbang.db")
        for sheet, (file, paper) in SHEETS.items():
            times = [_print(home, home / file, paper) for _ in range(ROUNDS)]
            size_kb = (home / file).stat().st_size / 1000
            note = f"{COUNT} vouchers, median; the file has {size_kb:.0f} kB"
            yield Result(
                f"voucher_batch_{sheet}_s", statistics.median(times), "s", Reach(at_most=REACH_S), None, times, note
            )


def _print(home: Path, out: Path, paper: str) -> float:
    began_s = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "portal.cli", "voucher", "create", "--count", str(COUNT), "--plan", "warga"),
            *("--run-dir", str(home), "--data-dir", str(home), "--out", str(out), "--paper", paper, "--json"),
        ],
        capture_output=True,
        check=True,
    )
    took_s = time.monotonic() - began_s
    made = json.loads(done.stdout)["vouchers"]
    if len({voucher["code"] for voucher in made}) != COUNT:
        raise RuntimeError(f"{len(made)} vouchers were made, not {COUNT}")
    return took_s
