"""The troubleshooting page speaks of messages that exist: each fixed piece of a heading stands in the sources."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
HEADINGS = re.findall(r"^### `(.+)`$", PAGE.read_text(), re.MULTILINE) if PAGE.exists() else []


@cache
def sources() -> str:
    """All of our sources, with string literals that continue on the next line joined, and values cut out of them."""
    found = []
    for folder in ("host", "delegate", "android"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".c", ".h"):
                text = re.sub(r'"\s*\n\s*f?"', "", path.read_text())
                values = r"\{[^{}\n]*\}" if path.suffix == ".py" else r"%[-.0-9]*(?:ll|z)?[sudxi]"
                found.append(re.sub(values, "…", text))
    return "\n".join(found)


def test_there_are_headings() -> None:
    assert len(HEADINGS) > 25


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_message_exists(heading: str) -> None:
    if heading.startswith("is "):
        from nnapi_toolkit.device.adbclient import ListedDevice

        assert ListedDevice("x", heading.removeprefix("is ")).advice, "there is advice for that state"
        return
    code = re.search(r"returned (\d+) \((\w+)\)", heading)
    if code:
        from nnapi_toolkit.android.errors import result_name

        assert result_name(int(code[1])) == code[2]
        return
    for piece in re.split(r"…", heading):
        piece = piece.strip()
        if len(piece) > 5:
            assert piece in sources(), f"no message says '{piece}'"
