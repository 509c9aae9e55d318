"""The public names exist, and importing the package stays cheap."""

from __future__ import annotations

import subprocess
import sys

import nnapi_toolkit


def test_every_public_name_resolves() -> None:
    for name in nnapi_toolkit.__all__:
        assert getattr(nnapi_toolkit, name) is not None


def test_import_pulls_in_nothing_heavy() -> None:
    code = "import sys, nnapi_toolkit; print([m for m in ('numpy', 'rich', 'adbutils', 'cffi') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_help_needs_no_command_module() -> None:
    code = (
        "import sys; from nnapi_toolkit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as leave: assert leave.code == 0\n"
        "print([m for m in ('numpy', 'rich', 'adbutils', 'cffi', 'flatbuffers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().endswith("[]")
    for command in ("devices", "inspect", "partition", "run", "verify", "bench", "doctor", "build", "virtual-device"):
        assert f"  {command} " in done.stdout
