"""Fixtures: clusters of the real binaries in $CYXWIZ_BUILD/bin."""

import json

import pytest

from cluster import BIN, Cluster


def pytest_sessionstart(session):
    missing = [name for name in ("cyxwiz", "cyxwiz-central-server", "cyxwiz-server-node", "cyxwiz-runner")
               if not (BIN / name).is_file()]
    if missing:
        pytest.exit(f"{BIN} lacks {', '.join(missing)}: build first, and set CYXWIZ_BUILD to the build folder", 1)


@pytest.fixture
def make_cluster(tmp_path):
    """Starts clusters with options of the test's choice; each is stopped at its end."""
    clusters = []

    def make(**options):
        clusters.append(Cluster(tmp_path / f"cluster{len(clusters) + 1}", **options))
        return clusters[-1]

    make.clusters = clusters
    yield make
    failure = None
    for cluster in clusters:
        try:
            cluster.stop()
        except AssertionError as error:
            failure = failure or error
    if failure:
        raise failure


@pytest.fixture
def cluster(make_cluster):
    """A server and one node, for this test alone."""
    cluster = make_cluster()
    cluster.add_node()
    return cluster


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A server and one node that many tests use; they must leave it as they found it."""
    with Cluster(tmp_path_factory.mktemp("shared"), data_roots=None) as cluster:
        cluster.add_node()
        yield cluster


@pytest.fixture(scope="session")
def server_only(tmp_path_factory):
    """A server without nodes."""
    with Cluster(tmp_path_factory.mktemp("server-only")) as cluster:
        yield cluster


@pytest.fixture
def job_file(tmp_path, request):
    """Writes the JOB of the test's module, with changes, as a job file; its path."""
    def write(**changes):
        path = tmp_path / "job.json"
        path.write_text(json.dumps({**request.module.JOB, **changes}))
        return str(path)

    return write


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of every program's log."""
    report = (yield).get_result()
    if report.failed:
        values = list(getattr(item, "funcargs", {}).values())
        for value in values:
            values += getattr(value, "clusters", [])
        for cluster in {id(v): v for v in values if isinstance(v, Cluster)}.values():
            for name, text in cluster.logs().items():
                report.sections.append((f"{cluster.folder.name}/{name}", text[-4000:]))
