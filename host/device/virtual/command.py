"""The frame of the shell's commands: registry, options, errors in toybox's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .shell import CommandError, Shell

CommandFunction = Callable[[Shell, Sequence[str]], int]
COMMANDS: dict[str, CommandFunction] = {}


def command(*names: str) -> Callable[[CommandFunction], CommandFunction]:
    """Registers a command under its names. It gets its arguments and returns its exit status."""

    def register(function: CommandFunction) -> CommandFunction:
        for name in names:
            COMMANDS[name] = function
        return function

    return register


def options_of(arguments: Sequence[str], known: str, with_value: str = "") -> tuple[dict[str, str], list[str]]:
    """Splits arguments into options (letter -> value or "") and operands, as getopt does.

    Raises:
        CommandError: An option that is not in `known` or `with_value`.
    """
    found: dict[str, str] = {}
    rest = list(arguments)
    operands: list[str] = []
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return found, operands + rest
        if len(argument) < 2 or not argument.startswith("-"):
            operands.append(argument)
            continue
        letters = argument[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in with_value:
                value = letters or (rest.pop(0) if rest else None)
                if value is None:
                    raise CommandError(f"missing argument to -{letter}")
                found[letter], letters = value, ""
            elif letter in known:
                found[letter] = ""
            else:
                raise CommandError(f"Unknown option '{letter}' (not known to the virtual device)")
    return found, operands


def need(operands: Sequence[str], least: int) -> None:
    """Complains where there are fewer operands."""
    if len(operands) < least:
        raise CommandError(f"Needs {least} argument{'s' if least > 1 else ''}")
