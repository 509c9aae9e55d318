"""What a plan is made for: the feature level, and what is known of the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["cost", "tflite"]

#: Feature level -> (Android release, API level, level constant of the NNAPI headers).
FEATURE_LEVELS: dict[int, tuple[str, int, int]] = {
    1: ("8.1", 27, 27),
    2: ("9", 28, 28),
    3: ("10", 29, 29),
    4: ("11", 30, 30),
    5: ("12", 31, 31),
    6: ("12+ (updated module)", 31, 1000006),
    7: ("12+ (updated module)", 31, 1000007),
    8: ("12+ (updated module)", 31, 1000008),
}


@dataclass(frozen=True, slots=True)
class Target:
    """The phone as the rules see it.

    Attributes:
        feature_level: 1 to 8, what the chosen NNAPI devices and the run time both support.
        api_level: Android API level of the phone; by default the one that brought the feature level.
        device_selected: True when NNAPI devices are named or NNAPI's own CPU is disallowed (the TFLite delegate's default
            from API 29): lifts two of its rules.
        allow_fp16: float32 may be computed in float16.
        rewrites: Names of the rewrites that rules may count on (see `delegate/rewrites`).
    """

    feature_level: int
    api_level: int = 0
    device_selected: bool = True
    allow_fp16: bool = False
    rewrites: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.feature_level not in FEATURE_LEVELS:
            raise ValueError(f"feature level {self.feature_level} does not exist: choose 1 to 8")
        if not self.api_level:
            object.__setattr__(self, "api_level", FEATURE_LEVELS[self.feature_level][1])
