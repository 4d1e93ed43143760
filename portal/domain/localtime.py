"""Turns local wall-clock times into moments and back, where days begin and clocks jump. Pure: it reads no clock.

Moments are Unix seconds (``*_wall_s``). Zones are any, with daylight saving too.
"""

from __future__ import annotations

import datetime as dt


def local_date(wall_s: float, zone: dt.tzinfo) -> dt.date:
    return dt.datetime.fromtimestamp(wall_s, zone).date()


def moment(local: dt.datetime, zone: dt.tzinfo, *, last: bool = False) -> float:
    """When the zone's clock shows ``local`` (naive): the first such moment, or the last.

    A time that is left out when the clock goes forward is the moment at which it does.
    """
    found = local.replace(tzinfo=zone, fold=int(last)).timestamp()
    if dt.datetime.fromtimestamp(found, zone).replace(tzinfo=None, fold=0) == local:
        return found
    # In a gap the two readings (PEP 495) lie on either side of the jump, which is at a whole second.
    before, after = sorted(int(local.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    before, after = before - 1, after + 1
    earlier = dt.datetime.fromtimestamp(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if dt.datetime.fromtimestamp(middle, zone).utcoffset() == earlier:
            before = middle
        else:
            after = middle
    return float(after)


def day_start(day: dt.date, zone: dt.tzinfo) -> float:
    """The first moment of a local day."""
    return moment(dt.datetime.combine(day, dt.time()), zone)
