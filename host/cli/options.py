"""Options of the commands that run a model, and what they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from nnapi_toolkit.cli.common import make_plan_options, plan_options

if TYPE_CHECKING:
    from nnapi_toolkit.session import SessionOptions

FALLBACK = click.option(
    "--fallback",
    type=click.Choice(["host", "device"]),
    default="host",
    show_default=True,
    help="Where nodes run that the device's NNAPI does not take: here, on the CPU reference, or on software NNAPI that is "
    "pushed to the device.",
)

_SECONDS = click.FloatRange(min=0, min_open=True)


def session_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a session to a command; `make_session_options` reads them."""
    for option in reversed(
        (
            click.option(
                "--feature-level",
                type=click.IntRange(1, 8),
                default=None,
                help="Plan for this level instead of the device's own.",
            ),
            click.option(
                "--accelerator",
                default=None,
                metavar="NAME",
                help="The NNAPI device to compile for: its name, type:accelerator (gpu, cpu, other), or re:PATTERN.",
            ),
            click.option(
                "--allow-nnapi-cpu",
                is_flag=True,
                help="NNAPI's own CPU (nnapi-reference) may take what the accelerator refuses, or everything without one.",
            ),
            click.option(
                "--preference",
                type=click.Choice(["low-power", "fast-single-answer", "sustained-speed"]),
                default=None,
                help="NNAPI execution preference.",
            ),
            click.option(
                "--priority",
                type=click.Choice(["low", "medium", "high"]),
                default=None,
                help="NNAPI priority (feature level 4 and up).",
            ),
            click.option("--allow-fp16", is_flag=True, help="float32 may be computed in float16; results change."),
            click.option("--burst", is_flag=True, help="Use an NNAPI burst object (feature level 3 and up)."),
            click.option(
                "--compilation-timeout",
                type=_SECONDS,
                default=None,
                metavar="SECONDS",
                help="What NNAPI gives its driver to compile a partition (feature level 4 and up).",
            ),
            click.option(
                "--execution-timeout",
                type=_SECONDS,
                default=None,
                metavar="SECONDS",
                help="What NNAPI gives its driver to execute a partition (feature level 4 and up).",
            ),
            click.option(
                "--cache-directory",
                default=None,
                metavar="DIR",
                help="Directory on the device for NNAPI's compilation cache; auto: the toolkit's own there.",
            ),
            FALLBACK,
            click.option(
                "--on-failure",
                type=click.Choice(["error", "cpu"]),
                default="error",
                show_default=True,
                help="When the driver fails: end with an error, or run that partition on the CPU reference.",
            ),
        )
    ):
        function = option(function)
    return plan_options(function)


def make_session_options(given: Mapping[str, Any]) -> SessionOptions:
    """`SessionOptions` from a command's parameters.

    Raises:
        UsageError, click.BadParameter: A value that means nothing.
    """
    from nnapi_toolkit.session import SessionOptions

    same = (
        "feature_level", "accelerator", "preference", "priority", "allow_fp16", "burst", "cache_directory", "fallback",
        "on_failure",
    )  # fmt: skip
    return SessionOptions(
        plan=make_plan_options(given),
        disallow_nnapi_cpu=not given["allow_nnapi_cpu"],
        compilation_timeout_seconds=given["compilation_timeout"],
        execution_timeout_seconds=given["execution_timeout"],
        fallback_threads=given.get("threads", 1),
        **{name: given[name] for name in same},
    )
