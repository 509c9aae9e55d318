"""`nnapi devices`, `push`, `clean` and `virtual-device`: what is attached, and what lies on it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import click
from nnapi_toolkit.cli.common import DEVICE, JSON, PushRate, emit, push_progress, rate_text
from nnapi_toolkit.cli.targets import adb_options, adb_server


def accelerators_of(device: Any) -> tuple[int, list[dict[str, Any]]]:
    """The run time's feature level and the NNAPI devices of a usable device, by starting the shim on it once."""
    with device.start() as session:
        return session.hello.feature_level, [
            {
                "name": found.name,
                "type": found.type_name,
                "feature_level": found.feature_level,
                "version": found.version,
            }
            for found in session.hello.devices
        ]


#: Android 15: from here on NNAPI is deprecated.
DEPRECATED_API = 35


def deprecation(release: str, level: int) -> str:
    """What to know about NNAPI on a phone with Android 15 or later."""
    return (
        f"Android {release} has NNAPI at feature level {level}, deprecated since Android 15: it works, but gets no new "
        f"operations, and vendors may leave their drivers out"
    )


@click.command()
@click.option("--device", "spec", default=None, metavar="SPEC", help="Only this device; `local` and `virtual` as well.")
@click.option(
    "--no-accelerators", is_flag=True, help="Do not start the program on the devices to list their NNAPI devices."
)
@adb_options
@JSON
def devices(
    spec: str | None, no_accelerators: bool, adb_host: str | None, adb_port: int | None, as_json: bool
) -> int:
    """List phones and emulators, their NNAPI feature level, and the accelerators on them."""
    from nnapi_toolkit.delegate.errors import ToolkitError
    from nnapi_toolkit.device import list_devices, open_device

    server = adb_server(adb_host, adb_port)
    rows: list[dict[str, Any]] = []
    if spec is not None:
        with open_device(spec, server) as device:
            rows.append(_row(device.info(), _accelerators(device, no_accelerators)))
    else:
        for info in list_devices(server):
            found: dict[str, Any] = {}
            if info.state == "device":
                try:
                    with open_device(info.serial, server) as device:
                        found = _accelerators(device, no_accelerators)
                except ToolkitError as error:
                    found = {"advice": str(error)}
            rows.append(_row(info, found))
    if as_json:
        emit({"devices": rows})
        return 0
    _print_devices(rows)
    return 0


def _row(info: Any, found: dict[str, Any]) -> dict[str, Any]:
    """One device; `found` may hold a true feature level, accelerators, advice."""
    row = info.to_json() | found
    deprecated = row["api_level"] >= DEPRECATED_API
    return row | {"nnapi_deprecated": deprecated}


def _accelerators(device: Any, skip: bool) -> dict[str, Any]:
    if skip:
        return {}
    level, found = accelerators_of(device)
    return {"feature_level": level, "accelerators": found}


def _print_devices(rows: list[dict[str, Any]]) -> None:
    from nnapi_toolkit.report import console, table

    if not rows:
        console.print("no phone or emulator is attached; `--device virtual` needs none, `nnapi doctor` helps with one")
        return
    out = table("", "serial", "state", "model", "Android", ">API", "ABIs", ">NNAPI", "accelerators")
    for column in out.columns[:2]:
        column.no_wrap = True
    for row in rows:
        names = ", ".join(f"{a['name']} ({a['type']})" for a in row.get("accelerators", ()))
        out.add_row(
            row["serial"],
            row["state"],
            row["model"],
            row["release"],
            str(row["api_level"] or ""),
            ", ".join(row["abis"]),
            str(row["feature_level"] or "none"),
            names,
        )
    console.print(out)
    for row in rows:
        if row["advice"]:
            console.print(f"{row['serial']}: {row['advice']}")
        elif row["nnapi_deprecated"]:
            console.print(f"{row['serial']}: {deprecation(row['release'], row['feature_level'])}")


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@DEVICE
@adb_options
@JSON
def push(model: Path | None, device: str, adb_host: str | None, adb_port: int | None, as_json: bool) -> int:
    """Put the program and a model on a device for later use. What is there already is not sent again."""
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.device import open_device

    graph = None if model is None else Graph.open(model)
    begin = time.monotonic()
    sha256 = "" if graph is None else graph.sha256
    with push_progress(not as_json) as progress, open_device(device, adb_server(adb_host, adb_port)) as opened:
        rate = PushRate(progress)
        with opened.start(model, sha256, progress=rate) as session:
            document = {
                "device": session.name,
                "model": None if model is None else str(model),
                "pushed_bytes": session.pushed_bytes,
                "seconds": time.monotonic() - begin,
                "bytes_per_second": rate.bytes_per_second,
            }
    if as_json:
        emit(document)
    else:
        speed = rate.bytes_per_second
        at = f", at {rate_text(speed)}" if speed is not None else ""
        click.echo(f"{document['device']}: {document['pushed_bytes']} bytes pushed in {document['seconds']:.1f} s{at}")
    return 0


@click.command()
@DEVICE
@click.option(
    "--keep", default=None, metavar="SIZE", help="Leave what was used last, up to so many bytes: 500000, 512K, 200M, 1G."
)
@adb_options
@JSON
def clean(device: str, keep: str | None, adb_host: str | None, adb_port: int | None, as_json: bool) -> int:
    """Remove everything the toolkit left on a device, or what was unused longest."""
    from nnapi_toolkit.device import open_device

    kept = 0 if keep is None else parse_size(keep)
    with open_device(device, adb_server(adb_host, adb_port)) as opened:
        freed = opened.clean(kept)
        document = {"device": opened.name, "removed_bytes": freed}
    if as_json:
        emit(document)
    else:
        click.echo(f"{document['device']}: {freed} bytes removed")
    return 0


def parse_size(text: str) -> int:
    """`500000`, `512K`, `200M` or `1G` (powers of 1024) as bytes.

    Raises:
        click.BadParameter: Not of that form, or nothing.
    """
    match = re.fullmatch(r"(\d{1,12})([KMG]?)(?:iB|B)?", text.strip())
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(f"'{text}' is not a size like 500000, 512K, 200M or 1G", param_hint="--keep")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]


@click.command(name="virtual-device")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Loopback port; 0: a free one."
)
@click.option(
    "--abi", default=None, metavar="ABI", help="The ABI it plays; another than this machine's needs qemu-user."
)
@click.option("--feature-level", type=click.IntRange(1, 8), default=8, show_default=True)
@click.option("--refuse", default="", metavar="OP+OP", help="NNAPI operations that its driver refuses.")
@click.option("--refuse-every", type=click.IntRange(min=0), default=0, help="It refuses every Nth operation.")
@JSON
def virtual_device(
    port: int, abi: str | None, feature_level: int, refuse: str, refuse_every: int, as_json: bool
) -> int:
    """Serve a virtual phone until interrupted; any adb server can connect to it: adb connect 127.0.0.1:PORT."""
    from nnapi_toolkit.device.spec import parse_spec
    from nnapi_toolkit.device.virtual.daemon import serve
    from nnapi_toolkit.device.virtual_phone import prepare_config

    text = "virtual" + (f":{abi}" if abi else "") + f",fl={feature_level}"
    text += (f",refuse={refuse}" if refuse else "") + (f",refuse-every={refuse_every}" if refuse_every else "")
    config = prepare_config(parse_spec(text).config())

    def announce(started: Any) -> None:
        if as_json:
            emit({"serial": started.serial, "port": started.port})
        else:
            click.echo(f"a virtual device listens at {started.serial}: adb connect {started.serial}")

    serve(config, port, announce)
    return 0
