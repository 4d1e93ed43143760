"""The reviewer pages: month, day, rows behind the figures, comparison, charts, definitions. They change nothing.

Figures come from portal.store.rollups alone; what they mean stands in portal.reports.definitions.
"""

from portal.staff.review import about, compare, day, exports, month, pictures, rows  # noqa: F401 - each adds its pages
from portal.staff.review.door import blueprint

__all__ = ["blueprint"]
