"""For all tests in Python: a run that is asked to end ends the programs that it started."""

import signal


def pytest_configure(config):
    # As Ctrl-C: fixtures are torn down, so that no server or node is left. Without this, SIGTERM ends pytest at once.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
