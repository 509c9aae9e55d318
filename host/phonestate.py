"""What a benchmark must know of a phone besides its numbers: governor, clocks, temperature, screen, power."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnapi_toolkit.device import AdbDevice, Device
from nnapi_toolkit.errors import DeviceError

#: Seconds for the one command that reads everything.
READ_SECONDS = 20.0
#: Seconds between two looks at the temperature while waiting.
LOOK_SECONDS = 5.0

_CPU = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq"
_ZONE = "/sys/class/thermal/thermal_zone*"
#: One line for Android's shell. Fixed text: nothing of the user's goes into it.
COMMAND = (
    f"grep -s . {_CPU}/scaling_governor {_CPU}/scaling_cur_freq {_CPU}/cpuinfo_max_freq {_ZONE}/type {_ZONE}/temp; "
    "echo @thermalservice; dumpsys thermalservice 2>/dev/null; "
    "echo @battery; dumpsys battery 2>/dev/null; "
    "echo @power; dumpsys power 2>/dev/null | grep -m1 mWakefulness="
)
#: android.os.Temperature.TYPE_SKIN
_SKIN = 3
_SANE_CELSIUS = (-40.0, 150.0)


@dataclass(frozen=True, slots=True)
class PhoneState:
    """A phone at one moment. None: it cannot be read there; `reason` says why where nothing can.

    Attributes:
        governors: The CPU frequency governors in use, without repetition.
        clocks_mhz, max_clocks_mhz: Of each CPU, now and at most.
        temperature_celsius: Of the skin where the phone tells it, else of the battery, else of its hottest CPU zone.
        temperature_of: Which of them.
        screen: `on`, `off` or `dozing`.
        power: `ac`, `usb`, `wireless` or `battery`.
        battery_percent: Charge.
        reason: Why there is nothing, "" otherwise.
    """

    governors: tuple[str, ...] | None = None
    clocks_mhz: tuple[int, ...] | None = None
    max_clocks_mhz: tuple[int, ...] | None = None
    temperature_celsius: float | None = None
    temperature_of: str | None = None
    screen: str | None = None
    power: str | None = None
    battery_percent: int | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form that `nnapi bench --json` prints under "state"."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()} | {
            "reason": self.reason or None
        }


def read_state(device: Device | None) -> PhoneState:
    """The state of a phone, in one command. Never raises: what cannot be read is None."""
    if device is None:
        return PhoneState(reason="the CPU reference runs in this process: there is no phone")
    if not isinstance(device, AdbDevice):
        return PhoneState(reason="this process is the device: there is no phone")
    try:
        if device.info().virtual:
            return PhoneState(reason="a virtual device has no clocks, temperature or screen of its own")
        return parse_state(device.command(COMMAND, READ_SECONDS).text)
    except DeviceError as error:
        return PhoneState(reason=f"could not be read: {error}")


def parse_state(text: str) -> PhoneState:
    """Reads the output of `COMMAND`."""
    parts = re.split(r"^@(thermalservice|battery|power)\s*$", text, flags=re.MULTILINE)
    sections = {"files": parts[0]} | dict(zip(parts[1::2], parts[2::2]))
    files = dict(re.findall(r"^(/sys/\S+?):(.*?)\s*$", sections["files"], re.MULTILINE))
    battery = dict(re.findall(r"^\s*([A-Za-z ]+): *(\S+)\s*$", sections.get("battery", ""), re.MULTILINE))
    governors = tuple(dict.fromkeys(_of_cpus(files, "scaling_governor")))
    celsius, where = _temperature(files, sections.get("thermalservice", ""), battery)
    wakefulness = re.search(r"mWakefulness=(\w+)", sections.get("power", ""))
    found = PhoneState(
        governors=governors or None,
        clocks_mhz=_megahertz(_of_cpus(files, "scaling_cur_freq")),
        max_clocks_mhz=_megahertz(_of_cpus(files, "cpuinfo_max_freq")),
        temperature_celsius=celsius,
        temperature_of=where,
        screen=None if wakefulness is None else _SCREENS.get(wakefulness[1], wakefulness[1].lower()),
        power=_power(battery),
        battery_percent=int(battery["level"]) if battery.get("level", "").isdigit() else None,
    )
    return found if found != PhoneState() else PhoneState(reason="the device tells nothing of clocks, temperature or screen")


_SCREENS = {"Awake": "on", "Asleep": "off", "Dozing": "dozing", "Dreaming": "dreaming"}


def _of_cpus(files: Mapping[str, str], name: str) -> list[str]:
    """The values of one file of all CPUs, by the CPUs' numbers."""
    found = []
    for path, value in files.items():
        match = re.fullmatch(rf"/sys/devices/system/cpu/cpu(\d+)/cpufreq/{name}", path)
        if match:
            found.append((int(match[1]), value))
    return [value for _, value in sorted(found)]


def _megahertz(values: Sequence[str]) -> tuple[int, ...] | None:
    return tuple(round(int(value) / 1000) for value in values if value.isdigit()) or None


def _power(battery: Mapping[str, str]) -> str | None:
    sources = [name for name in ("AC", "USB", "Wireless") if f"{name} powered" in battery]
    on = [name.lower() for name in sources if battery[f"{name} powered"] == "true"]
    return on[0] if on else ("battery" if sources else None)


def _temperature(
    files: Mapping[str, str], service: str, battery: Mapping[str, str]
) -> tuple[float | None, str | None]:
    """The temperature that says most about throttling, and what it is of."""
    current = service.rpartition("Current temperatures from HAL")[2]
    skins = [
        (float(value), name.strip())
        for value, kind, name in re.findall(r"mValue=(-?[\d.]+(?:E-?\d+)?), *mType=(-?\d+), *mName=([^,}]+)", current)
        if int(kind) == _SKIN and _sane(float(value))
    ]
    if skins:
        value, name = max(skins)
        return value, f"skin ({name})"
    tenths = battery.get("temperature", "")
    if re.fullmatch(r"-?\d+", tenths) and _sane(int(tenths) / 10):
        return int(tenths) / 10, "battery"
    zones = [
        (celsius, kind)
        for path, kind in files.items()
        if path.endswith("/type") and re.search(r"cpu|soc|tsens|big|little", kind, re.IGNORECASE)
        if (celsius := _zone_celsius(files.get(f"{path.removesuffix('/type')}/temp", ""))) is not None
    ]
    if zones:
        value, name = max(zones)
        return value, f"CPU ({name})"
    return None, None


def _zone_celsius(text: str) -> float | None:
    """A thermal zone's value: thousandths of a degree on most phones, degrees on some."""
    if not re.fullmatch(r"-?\d+", text):
        return None
    raw = int(text)
    celsius = raw / 1000 if abs(raw) > 1000 else float(raw)
    return celsius if _sane(celsius) else None


def _sane(celsius: float) -> bool:
    return _SANE_CELSIUS[0] < celsius < _SANE_CELSIUS[1]


@dataclass(frozen=True, slots=True)
class Cooling:
    """How the wait for a cool phone went.

    Attributes:
        target_celsius: What was waited for.
        waited_seconds: How long.
        reached: The phone is that cool; None where its temperature cannot be read (then nothing was waited for).
        temperature_celsius: At the end.
    """

    target_celsius: float
    waited_seconds: float
    reached: bool | None
    temperature_celsius: float | None

    def to_json(self) -> dict[str, Any]:
        """The form that `nnapi bench --json` prints under "cooling"."""
        return asdict(self)


def wait_until_cool(
    look: Callable[[], PhoneState],
    celsius: float,
    limit_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Cooling:
    """Waits until a phone is at most so warm, or the limit has passed.

    Args:
        look: Reads the phone's state.
        celsius: The temperature to wait for.
        limit_seconds: The longest wait.
        clock, sleep: Time, for tests.
    """
    began = clock()
    while True:
        temperature = look().temperature_celsius
        waited = clock() - began
        if temperature is None:
            return Cooling(celsius, waited, None, None)
        if temperature <= celsius or waited >= limit_seconds:
            return Cooling(celsius, waited, temperature <= celsius, temperature)
        sleep(min(LOOK_SECONDS, max(0.1, limit_seconds - waited)))
