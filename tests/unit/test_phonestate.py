"""A phone's governor, clocks, temperature and screen out of what its shell says; waiting until it is cool."""

from __future__ import annotations

import pytest
from nnapi_toolkit.phonestate import PhoneState, parse_state, wait_until_cool

#: An octa-core phone with Android 12 on a cable.
MODERN = """\
/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor:schedutil
/sys/devices/system/cpu/cpu10/cpufreq/scaling_governor:performance
/sys/devices/system/cpu/cpu4/cpufreq/scaling_governor:schedutil
/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq:300000
/sys/devices/system/cpu/cpu10/cpufreq/scaling_cur_freq:2841600
/sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq:1804800
/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq:1804800
/sys/devices/system/cpu/cpu10/cpufreq/cpuinfo_max_freq:2841600
/sys/devices/system/cpu/cpu4/cpufreq/cpuinfo_max_freq:2419200
/sys/class/thermal/thermal_zone0/type:aoss0-usr
/sys/class/thermal/thermal_zone1/type:cpu-0-0-usr
/sys/class/thermal/thermal_zone0/temp:52100
/sys/class/thermal/thermal_zone1/temp:61300
@thermalservice
IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=99.0, mType=3, mName=stale, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=61.3, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=33.954, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
\tTemperature{mValue=-3.4028235E38, mType=3, mName=broken, mStatus=0}
@battery
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  level: 87
  temperature: 291
@power
  mWakefulness=Awake
"""
#: Android 8.1: no thermal service, no access to the CPUs' clocks.
OLD = """\
/sys/class/thermal/thermal_zone3/type:tsens_tz_sensor1
/sys/class/thermal/thermal_zone3/temp:47
/sys/class/thermal/thermal_zone4/type:battery
/sys/class/thermal/thermal_zone4/temp:30
@thermalservice
@battery
  AC powered: false
  USB powered: false
  Wireless powered: false
@power
  mWakefulness=Asleep
"""


def test_a_phone_that_tells_everything() -> None:
    found = parse_state(MODERN)
    assert found.governors == ("schedutil", "performance")
    assert found.clocks_mhz == (300, 1805, 2842)
    assert found.max_clocks_mhz == (1805, 2419, 2842)
    assert (found.temperature_celsius, found.temperature_of) == (33.954, "skin (VIRTUAL-SKIN)")
    assert (found.screen, found.power, found.battery_percent) == ("on", "usb", 87)
    assert found.to_json()["reason"] is None


def test_the_battery_s_temperature_where_the_skin_s_is_not_told() -> None:
    text = MODERN.replace("mType=3", "mType=9")
    assert parse_state(text).temperature_celsius == 29.1
    assert parse_state(text).temperature_of == "battery"


def test_an_old_phone() -> None:
    found = parse_state(OLD)
    assert found.governors is None and found.clocks_mhz is None
    assert (found.temperature_celsius, found.temperature_of) == (47.0, "CPU (tsens_tz_sensor1)")
    assert (found.screen, found.power) == ("off", "battery")


@pytest.mark.parametrize("text", ["", "@thermalservice\n@battery\n@power\n", "sh: grep: not found\n"])
def test_a_phone_that_tells_nothing_says_so(text: str) -> None:
    found = parse_state(text)
    assert found.temperature_celsius is None
    assert found.reason


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.mark.parametrize(
    ("temperatures", "limit", "reached", "seconds"),
    [
        ([35.0], 60, True, 0),
        ([41.0, 39.0, 36.9], 60, True, 10),
        ([45.0] * 100, 20, False, 20),
        ([None], 60, None, 0),
        ([45.0, None], 60, None, 5),
        ([45.0], 0, False, 0),
    ],
)
def test_waiting(temperatures: list[float | None], limit: float, reached: bool | None, seconds: float) -> None:
    clock, left = Clock(), list(temperatures)
    found = wait_until_cool(
        lambda: PhoneState(temperature_celsius=left.pop(0)), 37.0, limit, clock=clock, sleep=clock.sleep
    )
    assert found.reached is reached
    assert found.waited_seconds == pytest.approx(seconds)
    assert found.to_json()["target_celsius"] == 37.0
