"""Codes that people read, print and type: vouchers and return codes are of one form. Pure; it must not know SQL.

Eight characters of 32 (no 0 O 1 I), written ABCD-EFGH. The last is a check character over GF(32): with generator a it
makes sum(a^i * c_i) = 0, so that any one wrong character and any two neighbours exchanged are noticed (a Reed-Solomon
code with one check symbol). 35 bits remain: 34 thousand million codes.
"""

from __future__ import annotations

import secrets
from typing import Final

ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LENGTH: Final = 8
_VALUE: Final = {character: value for value, character in enumerate(ALPHABET)}
_SEPARATORS: Final = str.maketrans("", "", " -\t\r\n.\u00a0\u2010\u2011\u2012\u2013\u2014")
_POLYNOMIAL: Final = 0b100101  # x^5 + x^2 + 1, primitive over GF(2): a = x generates the whole field


def new_code() -> str:
    """A random code, as it is stored: eight characters without the dash."""
    data = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))
    return data + _check_character(data)


def shown(code: str) -> str:
    """``ABCDEFGH`` as people read it: ``ABCD-EFGH``."""
    return f"{code[:4]}-{code[4:]}"


def parse(text: str) -> str | None:
    """The code in what somebody typed or scanned, or None where it cannot be one: a slip, or never a code.

    Small letters, spaces and dashes do not matter. It says nothing of whether such a code exists.
    """
    code = text.translate(_SEPARATORS).upper()
    if len(code) != LENGTH or any(character not in _VALUE for character in code):
        return None
    return code if secrets.compare_digest(_check_character(code[:-1]), code[-1]) else None


def _times_a(value: int) -> int:
    value <<= 1
    return value ^ _POLYNOMIAL if value & 0b100000 else value


def _check_character(data: str) -> str:
    total = 0
    for character in data:  # Horner's rule; the check character itself has weight 1
        total = _times_a(total ^ _VALUE[character])
    return ALPHABET[total]
