"""Clusters with short leases, whose history is checked at the end."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

from cluster import BIN, Cluster  # noqa: E402

LEASE = 1.0  # seconds


def pytest_sessionstart(session):
    if not (BIN / "cyxwiz-central-server").is_file():
        pytest.exit(f"{BIN} lacks cyxwiz-central-server: build first, and set CYXWIZ_BUILD to the build folder", 1)


def pytest_collection_modifyitems(items):
    if "CYXWIZ_CHAOS_SECONDS" not in os.environ:
        items[:] = [item for item in items if "long" not in item.keywords]


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only by `make chaos`")


@pytest.fixture
def chaos(tmp_path):
    """A server without nodes; every process is ended afterwards, whatever state it is in. Jobs are not to blame for the
    nodes that end while they run them."""
    with Cluster(tmp_path / "cluster", lease_ms=round(LEASE * 1000), heartbeat_interval_ms=100,
                 server_arguments=["--max-nodes-lost", "1000000"]) as cluster:
        yield cluster


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of every program's log."""
    report = (yield).get_result()
    cluster = getattr(item, "funcargs", {}).get("chaos")
    if report.failed and cluster is not None:
        for name, text in cluster.logs().items():
            report.sections.append((name, text[-6000:]))
