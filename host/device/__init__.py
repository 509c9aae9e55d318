"""Devices: phones and emulators over adb, the virtual device, and this process, behind one interface (`base.Device`).

    with open_device("virtual") as device, device.start(Path("model.tflite")) as session:
        session.client.load(...)
"""

from __future__ import annotations

from .adb import AdbDevice
from .adbclient import AdbServer, Address, ListedDevice
from .base import Device, DeviceInfo, DeviceSession, Progress, SideData
from .choose import list_devices, open_device
from .local import LocalDevice
from .spec import DeviceSpec, parse_spec
from .virtual_phone import VirtualDevice, open_virtual

__all__ = [
    "AdbDevice",
    "AdbServer",
    "Address",
    "Device",
    "DeviceInfo",
    "DeviceSession",
    "DeviceSpec",
    "ListedDevice",
    "LocalDevice",
    "Progress",
    "SideData",
    "VirtualDevice",
    "list_devices",
    "open_device",
    "open_virtual",
    "parse_spec",
]
