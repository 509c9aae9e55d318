"""The command group: subcommands are imported when they are used, so that `nnapi --help` stays quick."""

from __future__ import annotations

import importlib
import sys

import click
from nnapi_toolkit import __version__
from nnapi_toolkit.cli.common import run_guarded

#: Command -> (module, one line of help). Kept here so that the list of commands needs no import.
COMMANDS = {
    "devices": ("nnapi_toolkit.cli.devices", "List phones, emulators and the NNAPI devices on them."),
    "inspect": ("nnapi_toolkit.cli.model", "Show what is in a model: inputs, outputs, operators."),
    "partition": ("nnapi_toolkit.cli.partition", "Say node by node what NNAPI takes, and why not otherwise."),
    "run": ("nnapi_toolkit.cli.run", "Run a model on a device."),
    "verify": ("nnapi_toolkit.cli.verify", "Compare a device's outputs with the CPU reference."),
    "bench": ("nnapi_toolkit.cli.bench", "Measure latency, overhead and compile time."),
    "push": ("nnapi_toolkit.cli.devices", "Put the program and a model on a device for later use."),
    "clean": ("nnapi_toolkit.cli.devices", "Remove everything the toolkit left on a device."),
    "doctor": ("nnapi_toolkit.cli.doctor", "Check this machine and its devices, and say what to do."),
    "build": ("nnapi_toolkit.cli.build", "Build the native parts for a target."),
    "virtual-device": ("nnapi_toolkit.cli.devices", "Serve a virtual phone that adb can connect to."),
}


class LazyGroup(click.Group):
    """A group whose subcommands live in modules that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the documentation."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="nnapi")
def cli() -> None:
    """Android NNAPI delegate and device-deployment toolkit.

    Every command takes --json for a stable machine-readable form.
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `nnapi` command; always leaves by SystemExit."""
    given = sys.argv[1:] if arguments is None else arguments
    sys.exit(run_guarded(cli, given))
