"""What the commands share: options, JSON output, exit codes, progress bars."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.delegate.partition import Plan, PlanOptions

EXIT_NEGATIVE = 1
EXIT_USAGE = 2

MODEL = click.argument("model", type=click.Path(path_type=Path))
DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="SPEC",
    help="auto, local, cpu, virtual[:ABI][,fl=N][,refuse=OP+OP][,refuse-every=N], abi:ABI, or an adb serial.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")


def plan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that decide what is delegated; `make_plan_options` reads them."""
    for option in reversed(
        (
            click.option(
                "--strategy",
                type=click.Choice(["cost", "tflite"]),
                default="cost",
                show_default=True,
                help="Choose partitions by cost, or exactly as TFLite's delegate does.",
            ),
            click.option(
                "--max-partitions",
                type=click.IntRange(min=0),
                default=None,
                help="At most this many delegated partitions; 0 means no limit.",
            ),
            click.option(
                "--min-nodes",
                type=click.IntRange(min=1),
                default=None,
                help="Leave partitions of fewer nodes to the CPU.",
            ),
            click.option("--no-rewrites", is_flag=True, help="Delegate nodes only as they stand."),
            click.option(
                "--allow-inexact", is_flag=True, help="Also rewrites whose results may be a quantised step or some ULP apart."
            ),
            click.option(
                "--include",
                metavar="NODES",
                default=None,
                help="Delegate only these: indices, ranges, operators: 3,7-9,1:4,CONV_2D (1:4 is node 4 of subgraph 1).",
            ),
            click.option(
                "--exclude", metavar="NODES", default=None, help="Leave these to the CPU, written the same way."
            ),
        )
    ):
        function = option(function)
    return function


#: The parameters that `plan_options` adds.
PLAN_PARAMETERS = ("strategy", "max_partitions", "min_nodes", "no_rewrites", "allow_inexact", "include", "exclude")


def make_plan_options(given: Mapping[str, Any]) -> PlanOptions:
    """`PlanOptions` from a command's parameters.

    Raises:
        click.BadParameter: A list of nodes that names none.
    """
    from nnapi_toolkit.delegate.partition import PlanOptions
    from nnapi_toolkit.delegate.rewrites import ALL
    from nnapi_toolkit.delegate.selection import NodeSelection

    if given["no_rewrites"] and given["allow_inexact"]:
        raise click.UsageError("--no-rewrites and --allow-inexact exclude each other; give one of them.")
    rewrites = ALL if given["allow_inexact"] else not given["no_rewrites"]
    values: dict[str, Any] = {"strategy": given["strategy"], "rewrites": rewrites}
    for name in ("max_partitions", "min_nodes"):
        if given[name] is not None:
            values[name] = given[name]
    for name in ("include", "exclude"):
        if given[name] is not None:
            try:
                values[name] = NodeSelection.parse(given[name])
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint=f"--{name}") from error
    return PlanOptions(**values)


FREEZE = click.option(
    "--freeze-shapes",
    "freeze",
    default=None,
    is_flag=False,
    flag_value="",
    metavar="[NAME=1x2x3,...]",
    help="Fix every open dimension: as the file has it, or as given for the named inputs.",
)


def parse_shapes(text: str) -> dict[str, tuple[int, ...]]:
    """`NAME=1x224x224x3,OTHER=1x10` as shapes by input name.

    Raises:
        click.BadParameter: Not of that form.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for entry in filter(None, text.split(",")):
        name, equals, dims = entry.rpartition("=")
        try:
            shape = tuple(int(d) for d in dims.split("x"))
        except ValueError:
            shape = ()
        if not equals or not name or not shape:
            raise click.BadParameter(f"'{entry}' is not NAME=1x2x3", param_hint="--freeze-shapes")
        shapes[name] = shape
    return shapes


def open_graph(model: Path, freeze: str | None) -> Graph:
    """The model, with its shapes fixed where `--freeze-shapes` asks for it.

    Raises:
        ModelError: The file does not verify.
        UnsupportedError: The shapes contradict an operator, or stay open.
    """
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.delegate.rewrites.folding import freeze_shapes

    graph = Graph.open(model)
    return graph if freeze is None else freeze_shapes(graph, parse_shapes(freeze))


def emit(document: Any) -> None:
    """Prints one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, allow_nan=False, default=_plain))


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def parse_levels(text: str) -> list[int]:
    """`3`, `1-8` or `1,3,5` as a list of feature levels.

    Raises:
        click.BadParameter: Not of that form, or a level outside 1 to 8.
    """
    levels: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise click.BadParameter(
                f"'{text}' is not a feature level, a range like 1-8, or a list like 1,3,5"
            ) from None
        if not 1 <= low <= high <= 8:
            raise click.BadParameter(f"'{part}' is outside the feature levels 1 to 8")
        levels.extend(range(low, high + 1))
    return list(dict.fromkeys(levels))


def parse_percent(text: str | None) -> float | None:
    """`90%` or `90` as a number.

    Raises:
        click.BadParameter: Not a number between 0 and 100.
    """
    if text is None:
        return None
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise click.BadParameter(f"'{text}' is not a percentage between 0% and 100%", param_hint="--require-delegated")
    return value


def enough_delegated(plan: Plan, required: float | None, advice: str) -> bool:
    """Whether the share of delegated multiply-accumulates reaches `--require-delegated`; says so if not."""
    summary = plan.summary()
    achieved = 100.0 * summary["delegated_macs"] / summary["macs"] if summary["macs"] else 100.0
    if required is None or achieved >= required:
        return True
    click.echo(
        f"nnapi: {achieved:.1f}% of the multiply-accumulates are delegated, --require-delegated wants {required:g}%: {advice}",
        err=True,
    )
    return False


REQUIRE = click.option(
    "--require-delegated",
    metavar="PERCENT",
    default=None,
    help="Exit code 1 unless this share of the multiply-accumulates is delegated: 90%.",
)


def run_guarded(command: click.Command, arguments: Sequence[str]) -> int:
    """Runs a command and turns every expected failure into a message and an exit code.

    With `--json` among the arguments the failure is a JSON document on standard output as well:
    `{"error": {"type": ..., "message": ...}}`, for a failed driver with "failure" (see `nnapi_toolkit.failures`).
    """
    from nnapi_toolkit.delegate.errors import ModelError, ToolkitError, UnsupportedError

    try:
        result = command.main(list(arguments), prog_name="nnapi", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as error:
        _complain(arguments, type(error).__name__, error.format_message())
        return EXIT_USAGE
    except ToolkitError as error:
        from nnapi_toolkit.errors import UsageError

        _complain(arguments, type(error).__name__, str(error), getattr(error, "failure", None))
        return EXIT_USAGE if isinstance(error, (ModelError, UnsupportedError, UsageError)) else EXIT_NEGATIVE
    except BrokenPipeError:
        return EXIT_NEGATIVE
    return result if isinstance(result, int) else 0


def _complain(arguments: Sequence[str], kind: str, message: str, failure: Any = None) -> None:
    if "--json" in arguments:
        error: dict[str, Any] = {"type": kind, "message": message}
        emit({"error": error if failure is None else error | {"failure": failure.to_json()}})
    click.echo(f"nnapi: {message}", err=True)


#: How the progress of pushes begins (see `device.store`); it counts bytes.
PUSHING = "pushing "


def rate_text(bytes_per_second: float) -> str:
    """`12.3 MiB/s`."""
    from nnapi_toolkit.report import size

    return f"{size(bytes_per_second)}/s"


class PushRate:
    """Passes progress on, and measures how fast bytes went while files were pushed."""

    def __init__(self, inner: Callable[[str, int, int], None] | None) -> None:
        """`inner` is told of everything; None: nobody."""
        self._inner = inner
        self._began = self._ended = 0.0
        self._done = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """See `nnapi_toolkit.device.Progress`."""
        if what.startswith(PUSHING):
            self._ended = time.monotonic()
            self._began = self._began or self._ended
            self._done = max(self._done, done)
        if self._inner is not None:
            self._inner(what, done, total)

    @property
    def bytes_per_second(self) -> float | None:
        """None where nothing was pushed, or too little to tell."""
        seconds = self._ended - self._began
        return self._done / seconds if seconds > 0 else None


@contextmanager
def push_progress(enabled: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A progress bar for pushes and compilations, on a terminal only."""
    if not enabled or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Bytes a second; nothing for what is counted in steps."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(rate_text(speed) if speed and task.description.startswith(PUSHING) else "")

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield report
