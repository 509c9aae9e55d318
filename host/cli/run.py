"""`nnapi run`, `verify` and `bench`: a model on a device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from nnapi_toolkit.cli.common import (
    DEVICE,
    EXIT_NEGATIVE,
    JSON,
    MODEL,
    emit,
    make_plan_options,
    plan_options,
    push_progress,
)


def session_options(function: Any) -> Any:
    """Adds the options of a session to a command."""
    for option in reversed(
        (
            click.option(
                "--feature-level",
                type=click.IntRange(1, 8),
                default=None,
                help="Plan for this level instead of the device's own.",
            ),
            click.option("--accelerator", default=None, metavar="NAME", help="The NNAPI device to compile for."),
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
        )
    ):
        function = option(function)
    return plan_options(function)


def make_session_options(**given: Any) -> Any:
    """`SessionOptions` from the command line's words."""
    from nnapi_toolkit.session import SessionOptions

    return SessionOptions(
        plan=make_plan_options(given),
        feature_level=given["feature_level"],
        accelerator=given["accelerator"],
        preference=given["preference"],
        priority=given["priority"],
        allow_fp16=given["allow_fp16"],
        burst=given["burst"],
    )


def _log(message: str) -> None:
    click.echo(message, err=True)


@click.command()
@MODEL
@DEVICE
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    default=None,
    help="npz: tensor names or input_0, input_1, …; without it: random inputs.",
)
@click.option(
    "--outputs", type=click.Path(path_type=Path), default=None, help="npz to write: output_0, … and tensor names."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random inputs.")
@session_options
@click.option(
    "--require-delegated", metavar="PERCENT", default=None, help="Fail unless this share of the MACs is delegated: 90%."
)
@JSON
def run(
    model: Path,
    device: str,
    inputs: Path | None,
    outputs: Path | None,
    seed: int,
    require_delegated: str | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Run a model once on a device, and say what ran where."""
    from nnapi_toolkit.arrays import load_inputs, random_inputs, save_outputs
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.report import print_plan, print_run
    from nnapi_toolkit.session import Session

    required = parse_percent(require_delegated)
    graph = Graph.open(model)
    main = graph.subgraphs[0]
    tensors = [main.tensors[index] for index in main.inputs]
    arrays = load_inputs(inputs, tensors) if inputs is not None else random_inputs(tensors, seed)
    if inputs is None and not as_json:
        _log(f"no --inputs: random inputs of seed {seed}")
    with (
        push_progress(not as_json) as progress,
        Session(graph, device, make_session_options(**given), progress) as session,
    ):
        results = session.run(arrays)
        if outputs is not None:
            save_outputs(outputs, session.output_tensors, results)
        summary = session.plan.summary()
        achieved = 100.0 * summary["delegated_macs"] / summary["macs"] if summary["macs"] else 100.0
        enough = required is None or achieved >= required
        if as_json:
            assert session.last_stats is not None
            emit(
                {
                    "model": str(model),
                    "device": session.device_name,
                    "summary": summary,
                    "stats": session.last_stats.to_json(),
                    "compile_ms": sum(session.compile_ns) / 1e6,
                    "pushed_bytes": session.pushed_bytes,
                    "outputs": [
                        {"name": t.name, "shape": list(r.shape), "dtype": str(r.dtype)}
                        for t, r in zip(session.output_tensors, results)
                    ],
                }
            )
        else:
            print_plan(session.plan, model.name)
            print_run(session)
    if not enough:
        _log(
            f"nnapi: {achieved:.1f}% of the MACs are delegated, --require-delegated wants {required:g}%: "
            f"`nnapi partition {model} --device {device}` says why"
        )
        return EXIT_NEGATIVE
    return 0


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
        raise click.BadParameter(f"'{text}' is not a percentage between 0% and 100%")
    return value


@click.command()
@MODEL
@DEVICE
@click.option(
    "--inputs", type=click.Path(path_type=Path), default=None, help="npz with the inputs; without it: random inputs."
)
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True, help="Random inputs to try.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--atol", type=float, default=1e-6, show_default=True, help="Absolute bound for floats.")
@click.option("--rtol", type=float, default=1e-5, show_default=True, help="Relative bound for floats.")
@click.option(
    "--steps", type=click.IntRange(min=0), default=0, show_default=True, help="Bound for integers, in raw steps."
)
@session_options
@JSON
def verify(
    model: Path,
    device: str,
    inputs: Path | None,
    runs: int,
    seed: int,
    atol: float,
    rtol: float,
    steps: int,
    as_json: bool,
    **given: Any,
) -> int:
    """Compare a device's outputs with the CPU reference's. Exit code 1 when a bound is exceeded."""
    from nnapi_toolkit.arrays import Tolerance, load_inputs
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.report import print_verification
    from nnapi_toolkit.verify import verify_model

    arrays = None
    if inputs is not None:
        main = Graph.open(model).subgraphs[0]
        arrays = [load_inputs(inputs, [main.tensors[index] for index in main.inputs])]
    found = verify_model(
        model,
        device,
        arrays,
        runs=runs,
        seed=seed,
        tolerance=Tolerance(atol, rtol, steps),
        options=make_session_options(**given),
    )
    document = {"model": str(model), **found.to_json()}
    if as_json:
        emit(document)
    else:
        print_verification(document)
    return 0 if found.within else EXIT_NEGATIVE


@click.command()
@MODEL
@DEVICE
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of software NNAPI.")
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--warmup", type=click.IntRange(min=0), default=5, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@session_options
@JSON
def bench(
    model: Path, device: str, threads: int, runs: int, warmup: int, seed: int, as_json: bool, **given: Any
) -> int:
    """Measure on-device latency, host overhead and compile time with random inputs."""
    from nnapi_toolkit.bench import bench_model
    from nnapi_toolkit.report import print_bench

    bar = None
    if not as_json and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        bar = Progress(console=Console(stderr=True), transient=True)
        task = bar.add_task("inferences", total=None)
        bar.start()
    try:
        result = bench_model(
            model,
            device,
            runs=runs,
            warmup=warmup,
            threads=threads,
            seed=seed,
            options=make_session_options(**given),
            progress=None if bar is None else lambda done, total: bar.update(task, completed=done, total=total),
        ).to_json()
    finally:
        if bar is not None:
            bar.stop()
    if as_json:
        emit(result)
    else:
        print_bench(result)
    return 0
