"""netctl: the small root program that owns the kernel state of the gateway.

It knows MAC addresses, rates and deadlines; it must not know people, plans, SQL or HTTP.
"""

from typing import Final

__version__: Final = "0.1.0"  # a test holds it equal to pyproject.toml; importlib.metadata would cost 20 ms and 2 MB
