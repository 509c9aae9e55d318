"""Which devices a command works on: one, or all that are attached, at the same time."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click
from nnapi_toolkit.cli.common import EXIT_NEGATIVE

if TYPE_CHECKING:
    from nnapi_toolkit.device import AdbServer, Device, ListedDevice

#: The value of `--device` that means every usable device at the adb server.
ALL = "all"

DEVICE_OR_ALL = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="SPEC",
    help="auto, local, cpu, virtual[:ABI][,fl=N][,refuse=OP+OP][,refuse-every=N], abi:ABI, an adb serial, or all.",
)


def adb_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --adb-host and --adb-port; `adb_server` reads them."""
    host = click.option(
        "--adb-host", default=None, metavar="HOST", help="Machine of the adb server; else as ADB_SERVER_SOCKET says."
    )
    port = click.option(
        "--adb-port", type=click.IntRange(1, 65535), default=None, metavar="PORT", help="Port of the adb server."
    )
    return host(port(function))


def adb_server(host: str | None, port: int | None) -> AdbServer:
    """The adb server that the options mean; without them the environment's, else 127.0.0.1:5037."""
    from nnapi_toolkit.device import AdbServer, Address

    return AdbServer(Address.default(host, port))


@contextlib.contextmanager
def opened(
    spec: str, server: AdbServer, progress: Callable[[str, int, int], None] | None = None
) -> Iterator[str | Device]:
    """What a session takes as its device: the opened device of a specification, or the word `cpu`.

    Raises:
        UsageError, DeviceError: As `open_device`.
    """
    from nnapi_toolkit.device import open_device

    if spec == "cpu":
        yield spec
        return
    with open_device(spec, server, progress) as device:
        yield device


def on_all_devices(server: AdbServer, work: Callable[[str, Device], dict[str, Any]]) -> list[dict[str, Any]]:
    """Does the work on every device at the adb server, in parallel; one that fails does not stop the others.

    Args:
        server: The adb server.
        work: Called with the serial and the opened device, on a thread of its own; makes the device's document.

    Returns:
        One document per device, sorted by serial: what `work` made, with the serial as "device"; or
        `{"device": ..., "error": {"type": ..., "message": ...}}`.

    Raises:
        DeviceNotFoundError: There is none.
        AdbServerError: The server does not answer.
    """
    from nnapi_toolkit.delegate.errors import ToolkitError
    from nnapi_toolkit.device import open_device
    from nnapi_toolkit.device.adbclient import start_server
    from nnapi_toolkit.errors import DeviceNotFoundError

    if not server.running():
        start_server(server)
    attached = sorted(server.devices(), key=lambda listed: (listed.serial, listed.transport_id or 0))
    if not attached:
        raise DeviceNotFoundError(
            f"no device is attached to the adb server at {server.address}",
            advice="Plug phones in with USB debugging on, or `adb connect HOST:PORT`",
        )

    counts = Counter(listed.serial for listed in attached)

    def one(listed: ListedDevice) -> dict[str, Any]:
        # Two phones of one serial can be told apart by the server's number for the connection only.
        twin = counts[listed.serial] > 1 and listed.transport_id is not None
        name = f"transport_id:{listed.transport_id}" if twin else listed.serial
        try:
            with open_device(name, server) as device:
                return {"device": name} | work(name, device) | {"device": name}
        except ToolkitError as error:
            return {"device": name, "error": error_document(error)}

    with ThreadPoolExecutor(len(attached), thread_name_prefix="nnapi-device") as pool:
        return list(pool.map(one, attached))


def error_document(error: Exception) -> dict[str, Any]:
    """`{"type": ..., "message": ...}`, and for a failed driver "failure"."""
    from nnapi_toolkit.failures import failure_of

    document: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    failure = failure_of(error)
    if failure is not None:
        document["failure"] = failure.to_json()
    return document


def exit_code(rows: list[dict[str, Any]], fine: Callable[[dict[str, Any]], bool] = lambda row: True) -> int:
    """0 when every device did its work and is fine, else 1."""
    return 0 if all("error" not in row and fine(row) for row in rows) else EXIT_NEGATIVE


def print_errors(rows: list[dict[str, Any]]) -> None:
    """The messages of devices that failed, on standard error."""
    for row in rows:
        if "error" in row:
            click.echo(f"nnapi: {row['device']}: {row['error']['message']}", err=True)
