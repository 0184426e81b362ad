"""Builds C++ libraries at run time, and keeps them for later processes.

They are kept in the folder of :mod:`runtime.cache`. One process at a time makes a library; others wait for it.
With the first library for small draws of a dtype, the others that these may need are begun, one after the other, while
the program goes on.
Each build is a line of the logger "rsample", and one that a program waits for says so before, at a level that Python
shows where logging has not been set up. Where one fails, one warning is given, and nothing is tried again for the life
of the process.

The compiler is called as :mod:`engines.cpu.compiler` says. Where that does not do (another system than Linux, an
unknown compiler or processor) Inductor calls it, whose import takes seconds.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from ...runtime import cache
from ...stream.compatibility import load_cpp
from . import compiler

if sys.platform == "linux":
    import fcntl

LOGGER = logging.getLogger("rsample")

TYPES = {torch.float32: "float", torch.float64: "double"}

# The sources of libraries that small draws of a dtype need, and their gradients; each module that has one adds it.
AHEAD: list[Callable[[torch.dtype], str]] = []
GRADIENTS_AHEAD: list[Callable[[torch.dtype], str]] = []

_AHEAD_OF_TIME: dict[torch.dtype, list[threading.Thread]] = {}  # they build what is AHEAD

_works = True  # as far as is known
_by_inductor = False  # what our own call could not build

BUILDING = threading.RLock()  # held while a library is built or looked for; another one in a forked process
_IMPORTING = threading.RLock()
_LOCKING = threading.RLock()  # held while a file is opened to be locked
_LOCKED: set[int] = set()  # the files that may be locked, by descriptor


class CompilerError(Exception):
    """The compiler has failed; what it said."""


def compiler_works() -> bool:
    """Whether no build has failed yet."""
    return _works


def header(name: str) -> str:
    """A C++ header of this package. Sources hold the text itself: a library is built again where it has changed."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def headers(*names: str) -> str:
    """The headers that all draws need, and those of some names."""
    return "".join(map(header, ("standard.h", "vectors.h", "parallel.h", "elementary.h", "noise.h", *names)))


def once(built: dict[Any, Any], key: Any, make: Callable[..., Any], *arguments: Any) -> Any:
    """What `built` holds for a key; made on first use, which is tried once."""
    if key not in built:
        with BUILDING:
            if key not in built:
                built[key] = make(*arguments)
    return built[key]


def build(source: str, what: str, dtype: torch.dtype | None = None) -> Any:
    """The loaded library of a C++ source with `extern "C"` functions, or None where it cannot be built.

    Args:
        what: runs without compiled code then, for the warning.
        dtype: of small draws that the library is for, if it is; others of them are begun with it.
    """
    global _works
    with BUILDING:
        if not _works:
            return None
        kept = place(source)
        try:
            file = None if kept is None else whole(kept)
            if file is not None:
                return _loaded(file)
        except OSError as error:
            LOGGER.info("a compiled library could not be loaded: %s", error)
        where = "" if kept is None else f", once: it is kept in {kept.parent}"
        LOGGER.warning("rsample compiles C++ for %s%s", what, where)
        start = time.perf_counter()
        try:
            library = _built(source, kept, dtype)
        except Exception as error:
            # No compiler, one that does not know the language extensions of noise.h (MSVC), or no room for a library:
            # nothing that another source or another try would meet differently.
            _works = False
            warn(what, error)
            return None
        LOGGER.info("compiled C++ for %s in %.1f s; kept in %s", what, time.perf_counter() - start, kept)
        return library


def _built(source: str, kept: Path | None, dtype: torch.dtype | None) -> Any:
    global _by_inductor
    failure: Exception | None = None
    if compiler.vectors() is not None and not _by_inductor:
        command = [*compiler.loops(compiler.found()), "-x", "c++", "-"]
        try:
            if dtype is not None and kept is not None:
                _build_ahead(dtype, kept, command)
            return _compiled(source, kept, command)
        except (CompilerError, OSError) as error:
            LOGGER.info("Inductor is to call the compiler, as our own call failed: %s", error)
            failure = error
    try:
        library = _compiled_by_inductor(source)
    except Exception as error:
        raise failure or error from None
    _by_inductor = True
    if kept is not None:
        _keep(Path(library._name), kept)
    return library


# ------------------------------------------------------------------------------------------------------- our own call


def _compiled(source: str, kept: Path | None, command: Sequence[str]) -> Any:
    if kept is not None:
        try:
            return _loaded(make(kept, command, source))
        except OSError as error:
            LOGGER.info("a compiled library could not be kept: %s", error)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "library.so"
        _run([*command, "-o", str(file)], source)
        return _loaded(file)


# Makes a library whole under its name, which tells its size. The compiler may outlive its caller.
_MAKE = """
made="$0.$$.so"
if "$@" -o "$made"; then mv "$made" "$0-$(wc -c < "$made").so"; else rm -f "$made"; exit 1; fi
"""


def make(kept: Path, command: Sequence[str], source: str = "", *, outlives: bool = False, waits: bool = True) -> Path:
    """Has a compiler make the file of a library, unless another process makes it meanwhile.

    Args:
        command: the compiler's, except for its output.
        source: what it reads from its standard input.
        outlives: whether the compiler goes on where this process is interrupted.
        waits: whether to wait for the other process.

    Raises:
        CompilerError: the command failed.
        BlockingIOError: another process makes the file, and this one does not wait.
        OSError: nothing can be kept.
    """
    cache.make(kept.parent)
    with _locked(kept, waits) as lock:
        if whole(kept) is None:
            command = ["sh", "-c", _MAKE, str(kept), *command]
            _run(command, source, pass_fds=(lock,), start_new_session=outlives)
        file = whole(kept)
        if file is None:
            raise OSError(f"{kept} has not been made")
        return file


@contextmanager
def _locked(kept: Path, waits: bool) -> Iterator[int]:
    with _LOCKING:
        lock = os.open(f"{kept}.lock", os.O_WRONLY | os.O_CREAT, 0o666)
        _LOCKED.add(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        try:
            yield lock
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        with _LOCKING:
            _LOCKED.discard(lock)
            os.close(lock)


def _run(command: Sequence[str], source: str, **options: Any) -> None:
    with tempfile.TemporaryFile() as text:  # it has the whole of the source, even where this process ends early
        text.write(source.encode())
        text.seek(0)
        done = subprocess.run(command, stdin=text, capture_output=True, **options)
    if done.returncode != 0:
        error = done.stderr.decode(errors="replace").strip()
        raise CompilerError(error or f"{command[0]} fails, status {done.returncode}")


def _build_ahead(dtype: torch.dtype, but: Path, command: Sequence[str]) -> None:
    """Begins to make the libraries that small draws of a dtype need, where no process does yet, and does not wait.

    One at a time per processor, but for that of what the program waits for.
    """
    if dtype in _AHEAD_OF_TIME:
        return
    sources = iter([*AHEAD, *GRADIENTS_AHEAD])

    def run() -> None:
        for source_of in sources:
            source = source_of(dtype)
            kept = place(source)
            if kept is None or kept == but or whole(kept) is not None:
                continue
            try:
                make(kept, ["nice", *command], source, outlives=True, waits=False)
            except BlockingIOError:
                continue
            except (CompilerError, OSError) as error:
                LOGGER.info("a library was not built ahead of its use: %s", error)
                return
            LOGGER.info("compiled C++ for small draws ahead of its use; kept in %s", kept)

    others = range(len(os.sched_getaffinity(0)) - 1)
    threads = [threading.Thread(target=run, name="rsample-ahead", daemon=True) for _ in others]
    _AHEAD_OF_TIME[dtype] = threads
    for thread in threads:
        thread.start()


def wait_ahead() -> None:
    """Wait until what was begun ahead of its use is built."""
    for threads in list(_AHEAD_OF_TIME.values()):
        for thread in threads:
            thread.join()


# ---------------------------------------------------------------------------------------------------------- Inductor's


def _compiled_by_inductor(source: str) -> Any:
    is_gcc = _import_inductor()
    # Inductor turns the loop vectoriser off in gcc.
    return load_cpp(source, (*compiler.ARITHMETIC, *(("-ftree-loop-vectorize",) if is_gcc() else ())))


def _import_inductor() -> Callable[[], bool]:
    """Imports what a build by Inductor needs, which is slow; whether the compiler is gcc."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    with _IMPORTING:
        try:
            # On import it says that it has found no GPU, which was not asked for.
            logger.setLevel(logging.ERROR)
            import torch.utils.cpp_extension  # noqa: F401
        finally:
            logger.setLevel(level)
        from torch._inductor.codecache import CppCodeCache  # noqa: F401
        from torch._inductor.cpp_builder import is_gcc
    answer: Callable[[], bool] = is_gcc
    return answer


def _keep(file: Path, kept: Path) -> None:
    try:
        content = file.read_bytes()
        cache.write(kept.with_name(f"{kept.name}-{len(content)}.so"), content)
    except OSError as error:
        LOGGER.info("a compiled library could not be kept: %s", error)


# ------------------------------------------------------------------------------------------------------- what is kept


def place(source: str) -> Path | None:
    """Where the library of a source is kept, for this machine and version of torch, except for the size in its name."""
    folder = cache.folder()
    if folder is None:
        return None
    options = (compiler.OPTIMISED, compiler.vectors())
    made_by = (source, torch.__version__, os.environ.get("CXX"), compiler.machine(), options)
    return folder / hashlib.sha256(repr(made_by).encode()).hexdigest()[:32]


def whole(kept: Path) -> Path | None:
    """The file of a library that is kept; not one that a crash of the machine has cut off: it would end the process."""
    files = kept.parent.glob(f"{kept.name}-*.so")
    return next((file for file in files if file.stem == f"{kept.name}-{file.stat().st_size}"), None)


def _loaded(file: Path) -> Any:
    try:
        return ctypes.CDLL(str(file))
    except OSError:
        with suppress(OSError):
            file.unlink()  # one that can be loaded is to take its place
        raise


def warn(what: str, error: Exception) -> None:
    """Say once that `what` runs without compiled code, and why."""
    message = f"rsample runs {what} on the CPU without compiled code, several times slower: {error}"
    warnings.warn(message[:1000], RuntimeWarning, stacklevel=6)


# -------------------------------------------------------------------------------------------------------------- forks


def _openmp_pause() -> Any:
    """GNU OpenMP's `omp_pause_resource_all`, or None where another OpenMP runs, which knows of forks itself."""
    symbols = ctypes.CDLL(None)  # those that torch has loaded, which our libraries use
    return None if hasattr(symbols, "__kmpc_fork_call") else getattr(symbols, "omp_pause_resource_all", None)


_pause = _openmp_pause() if hasattr(os, "fork") else None
_PAUSE_HARD = 2  # omp_pause_hard


def _before_fork() -> None:
    # A child would wait forever for a module that another thread of its parent has begun to import, and others would
    # for a lock that the child has got to hold.
    _IMPORTING.acquire()
    _LOCKING.acquire()
    # A child has none of its parent's threads, but GNU OpenMP would wait for them at its first parallel loop, forever.
    # Without threads to begin with both start their own when they need them, in 0.1 ms.
    if _pause is not None:
        _pause(_PAUSE_HARD)


def _after_fork() -> None:
    _LOCKING.release()
    _IMPORTING.release()


def _after_fork_in_child() -> None:
    global BUILDING
    _after_fork()
    # Another thread of the parent may have held it. What it was building is not there yet.
    BUILDING = threading.RLock()
    _AHEAD_OF_TIME.clear()
    # A file is locked as long as any process has it open that inherited it, and the parent may end.
    while _LOCKED:
        os.close(_LOCKED.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
