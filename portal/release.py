"""Which Gerbang this is: ``VERSION``, as it was installed. It knows nothing else.

Read at import, since the package's metadata may be unreadable once privileges are dropped.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

VERSION: Final = version("gerbang")
