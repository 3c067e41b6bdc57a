"""How this engine's loops are compiled: by numba, for the CPU at hand, once, by a process of their own.

Code that numba has just compiled may round otherwise than the same code read back from disk, since it is optimised
once more on its way there. So a text would depend on which process compiled first. Here every process reads back.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import structlog
from numba.core.caching import NullCache, UserProvidedCacheLocator

from contract.errors import ModelUnavailable

log = structlog.get_logger()

Function = TypeVar("Function", bound=Callable[..., Any])

FAST = {"reassoc", "contract", "nsz"}
"""Sums may be ordered as the vector unit likes, the same way for each row. Infinities and NaN stay what they are.

Not "arcp": with it vectors divide by an estimate of the reciprocal and single numbers do not, and which of the two
runs a loop also depends on how close to each other its arrays lie in memory."""

COMPILING = "INKMILL_COMPILING"  # set in the process that compiles
ENGINE = Path(__file__).parents[1]  # the room whose loops these are


@lru_cache(maxsize=1)
def code_folder() -> Path:
    """Where compiled code is kept. Made, where it is missing, for whoever asks first in this process."""
    return _folder()


def _folder() -> Path:
    """Below NUMBA_CACHE_DIR, else the user's cache, else among temporary files."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    parent = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(caches) / "inkmill" / "compiled")
    name = _name()
    temporary = Path(tempfile.gettempdir()) / f"inkmill-compiled-{os.geteuid()}-{name}"
    for folder in (parent if COMPILING in os.environ else parent / name, temporary):
        try:
            _make(folder)
            os.utime(folder)
            if _is_private(folder):
                return folder
        except OSError:
            pass  # the next one
    return Path(tempfile.mkdtemp(prefix="inkmill-compiled-"))  # both are unsafe: one for this process only


def _name() -> str:
    """numba notices a changed file, but not a changed function of another file that was compiled into it: the folder's
    name is a hash of all that may have gone in."""
    digest = hashlib.blake2b(digest_size=8)
    for source in sorted(ENGINE.rglob("*.py")):
        digest.update(source.read_bytes())
    host = (llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten())
    digest.update(repr((host, numba.__version__, llvmlite.__version__, sys.version)).encode())
    return digest.hexdigest()


def _make(folder: Path) -> None:
    """Makes what is missing of a path, for us alone."""
    for missing in [path for path in (folder, *folder.parents) if not path.exists()][::-1]:
        missing.mkdir(mode=0o700, exist_ok=True)


def _is_private(folder: Path) -> bool:
    """Whether nobody else can write there: numba unpickles what it finds, and runs it."""
    status = folder.lstat()  # a link among temporary files may be anybody's
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


class ByContent(UserProvidedCacheLocator):  # type: ignore[misc]
    """Finds our compiled code by its sources' content, where numba goes by their path: installations share it."""

    def get_cache_path(self) -> str:
        return str(code_folder())

    def get_source_stamp(self) -> str:
        return code_folder().name

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> ByContent | None:
        # Unlike numba, no file is written to see whether that works: code can be read from a full disk.
        return cls(py_func, py_file) if Path(py_file).is_relative_to(ENGINE) else None


class CacheAtFirstUse(NullCache):  # type: ignore[misc]
    """Stands in for numba's cache of a function until its first call: numba's own has to know its folder at once."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Called by numba before it compiles; from then on it asks its own cache."""
        numba.config.CACHE_DIR = str(code_folder())
        numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.{ByContent.__name__},{UserProvidedCacheLocator.__name__}"
        self._dispatcher.enable_caching()
        return self._dispatcher._cache.load_overload(sig, target_context)


def ensure_compiled(dtype: str, kind: str = "gpt2") -> None:
    """Have the loops for a model compiled and on disk, before this process calls any of them.

    Args:
        kind: "gpt2" or "decoder": which of the engine's models it is.

    Takes half a minute, the first time on a machine and after a change of this engine.

    Raises:
        ModelUnavailable: somebody else could put code there.
    """
    folder = code_folder()
    _make(folder)  # it may have been tidied away since this process began
    if not _is_private(folder):
        raise ModelUnavailable(f"others can write to {folder}, and could put code there: remove it")
    done = folder / f"{kind}-{dtype}.done"
    if COMPILING in os.environ or done.exists():
        return
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return
        log.info("compiling the engine for this CPU, once; this takes half a minute", dtype=dtype)
        command = [sys.executable, "-P", "-m", "worker.engine.load.precompile", kind, dtype]
        environment = os.environ | {COMPILING: "1", "NUMBA_CACHE_DIR": str(folder)}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            log.warning("could not compile the engine ahead; texts may differ in rare last bits", error=result.stderr)
        else:
            done.touch()


def inlined(function: Function) -> Function:
    """A small function that becomes part of those that call it."""
    return cast("Function", numba.njit(inline="always", fastmath=FAST)(function))


def called(function: Function) -> Function:
    """A function that compiled ones call. It is not kept by itself: those that call it keep their own copy."""
    return cast("Function", numba.njit(nogil=True, fastmath=FAST)(function))


def compiled(function: Function) -> Function:
    """A function of one thread that Python calls."""
    return cast("Function", _cached(numba.njit(nogil=True, fastmath=FAST)(function)))


def threaded(function: Function) -> Function:
    """A function that Python calls, and whose loops over `each_thread` run on torch's own OpenMP threads."""
    return cast("Function", _cached(numba.njit(parallel=True, nogil=True, fastmath=FAST)(function)))


def _cached(dispatcher: Any) -> Any:
    """What `cache=True` would do, from its first call on."""
    dispatcher._cache = CacheAtFirstUse(dispatcher)
    return dispatcher


each_thread = numba.prange
