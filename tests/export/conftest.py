"""Models and what the runner computes from them, written once by the build's write_cases."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CYXWIZ_BUILD", ROOT / "build"))
CASES = [ROOT / "tests/golden/layers.json", ROOT / "tests/export/cases.json"]
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))
NAMES = [case["name"] for file in CASES for case in json.loads(file.read_text())] + [file.stem for file in EXAMPLES]


def run(*arguments):
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    done = run(BUILD / "test/write_cases", folder, *CASES, *EXAMPLES)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=NAMES)
def case(request, cases):
    """The folder of one model."""
    folder = cases / request.param
    if not folder.is_dir():
        pytest.skip("its data set is not on this machine")
    return folder


@pytest.fixture
def cyxwiz():
    """Runs the command line; a failure is the test's."""

    def call(*arguments, code=0):
        done = run(BUILD / "bin/cyxwiz", *arguments)
        assert done.returncode == code, done.stderr
        return done

    return call
