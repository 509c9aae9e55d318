"""This process as a device: the shim's request handler and software NNAPI, bound with cffi. No adb, nothing pushed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from nnapi_toolkit.android.binding import LocalChannel
from nnapi_toolkit.android.build import BuildResult, build, cache_root
from nnapi_toolkit.android.protocol import Library, ShimClient
from nnapi_toolkit.delegate.target import FEATURE_LEVELS
from nnapi_toolkit.errors import DeviceError

from .base import SOFTNN, START_SECONDS, Deadline, Device, DeviceInfo, DeviceSession, Progress, SideData, for_build
from .virtual.config import VirtualConfig


class LocalDevice(Device):
    """Software NNAPI in this process, at any feature level."""

    name = "local"

    def __init__(self, config: VirtualConfig | None = None) -> None:
        """`config` holds the settings of software NNAPI; the rest of it does not matter here."""
        self.config = config or VirtualConfig()

    def info(self) -> DeviceInfo:
        """See `Device.info`."""
        release, api_level, _ = FEATURE_LEVELS[self.config.feature_level]
        return DeviceInfo(
            serial="local",
            model="this process",
            manufacturer="nnapi-toolkit",
            release=release.split("+")[0],
            api_level=api_level,
            abis=(self.config.abi,),
            feature_level=self.config.feature_level,
            virtual=True,
        )

    def start(
        self,
        model: Path | None = None,
        sha256: str = "",
        progress: Progress | None = None,
        deadline: float = START_SECONDS,
    ) -> LocalSession:
        """See `Device.start`."""
        session = LocalSession(self, build("host", progress=for_build(progress)))
        try:
            session.begin(model, Deadline(deadline))
        except BaseException:
            session.close()
            raise
        return session


class LocalSession(DeviceSession):
    """A session in this process."""

    def __init__(self, device: LocalDevice, built: BuildResult) -> None:
        """Loads the libraries. Raises BuildError."""
        assert built.shim_library is not None
        self.name = device.name
        self.info = device.info()
        self._built = built
        self._model: Path | None = None
        self._side_hash = ""
        self._side_file: Path | None = None
        self.cache_directory = str(_cache_directory())
        environment = device.config.softnn_environment() | dict(device.config.environment)
        self.client = ShimClient(LocalChannel(built.shim_library, built.libneuralnetworks, environment))

    def begin(self, model: Path | None, deadline: Deadline) -> None:
        """Greets the shim and opens the model. Raises ShimError."""
        self.hello = self.client.hello(self._built.source_hash, deadline=deadline.left)
        if model is not None:
            self._model = model.resolve()
            self._open_files()

    def restart(self) -> None:
        """See `DeviceSession.restart`; in this process there is no worker that could be lost alone."""
        self.begin(self._model, Deadline(START_SECONDS))

    def _open_files(self) -> None:
        assert self._model is not None
        side = (str(self._side_file), self._side_file.stat().st_size) if self._side_file else ("", 0)
        self.client.open(str(self._model), self._model.stat().st_size, *side)

    def provide_side(self, side: SideData) -> None:
        """See `DeviceSession.provide_side`."""
        data = side.data
        if not data or side.sha256 == self._side_hash or self._model is None:
            return
        self._remove_side()
        with tempfile.NamedTemporaryFile(prefix="nnapi-side-", delete=False) as file:
            self._side_file = Path(file.name)
            file.write(data)
        self._open_files()
        self._side_hash = side.sha256

    def provide_softnn(self, threads: int = 1, progress: Progress | None = None) -> Library:
        """See `DeviceSession.provide_softnn`: a copy, since the same file would be the same library with the same settings."""
        built = self._built.libneuralnetworks
        copy = built.with_name(f"second-{built.name}")  # goes with the build when that goes
        try:
            if not copy.exists() or copy.stat().st_size != built.stat().st_size:
                part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
                shutil.copyfile(built, part)
                part.replace(copy)
        except OSError as error:
            raise DeviceError(f"the copy of software NNAPI {copy} cannot be written: {error}", serial=self.name) from error
        return self.client.library(SOFTNN, str(copy), threads=threads)

    def _remove_side(self) -> None:
        if self._side_file is not None:
            self._side_file.unlink(missing_ok=True)
            self._side_file = None

    def close(self) -> None:
        """See `DeviceSession.close`."""
        self.client.close()
        self._remove_side()


def _cache_directory() -> Path:
    """Where compilations of this process are kept."""
    path = cache_root() / "compilations"
    path.mkdir(parents=True, exist_ok=True)
    return path
