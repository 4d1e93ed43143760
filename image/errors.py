"""What a build ends with that cannot go on: a sentence, a hint, an exit code. It must not know what was being built."""

from __future__ import annotations


class BuildError(Exception):
    """``status`` is one of sysexits(3); ``hint`` says what to do."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.status = status
        self.message = message
        self.hint = hint
