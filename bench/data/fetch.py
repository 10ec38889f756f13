#!/usr/bin/env python3
"""Measures how fast a node fetches a file by HTTPS, beside curl, and prints JSON.

    bench/data/fetch.py [--build DIR] [--rounds N] [--mib N]

A server on this machine gives the same file to both in turns and takes the time, from the request until the last byte is
sent. A node computes the SHA-256 of what comes as it is written, so curl is measured alone and with sha256sum behind it.
Both write to the same disk; nothing is kept from round to round. Medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "tests" / "integration")]
from formats import npy  # noqa: E402
from run import Program  # noqa: E402
from web import Web, content  # noqa: E402

WIDTH = 4096


class Timed:
    """Gives the file, and says how long that took."""

    def __init__(self, data):
        self._answer = content(data)
        self._seconds, self._done = 0.0, threading.Event()

    def __call__(self, handler):
        begin = time.perf_counter()
        self._answer(handler)
        self._seconds = time.perf_counter() - begin
        self._done.set()

    def seconds(self):
        if not self._done.wait(300):
            sys.exit("the file was not fetched within 300 s")
        self._done.clear()
        return self._seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512)
    args = parser.parse_args()
    rows = (args.mib << 20) // WIDTH
    file = Timed(npy("|u1", (rows, WIDTH), os.urandom(1 << 20) * args.mib))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        web = Web(folder)
        url = web.route("/x.npy", file)
        web.route("/y.npy", content(npy("|u1", (rows,), bytes(rows))))
        programs = [Program([args.build / "bin/cyxwiz-central-server", "--data", folder / "server", "--grpc-listen", "127.0.0.1:0",
                             "--rest-listen", "127.0.0.1:0"], folder / "server.log")]
        server = programs[0].ready["grpc"]
        programs.append(Program([args.build / "bin/cyxwiz-server-node", "--data", folder / "node", "--server", server, "--listen",
                                 "127.0.0.1:0", "--terminal-listen", "127.0.0.1:0", "--dataset-disk", "0", "--fetch-ca-file",
                                 web.ca_file, "--fetch-allow", "127.0.0.0/8"], folder / "node.log"))

        def cli(*arguments):
            done = subprocess.run([args.build / "bin/cyxwiz", *map(str, arguments), "--server", server], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"cyxwiz {arguments[0]}: {done.stderr}")
            return done.stdout

        def node():
            job = {"name": "fetch", "model": {"input_shape": [WIDTH], "layers": [{"type": "dense", "units": 2}]},
                   "dataset": f"{url}#labels=y.npy", "resources": {"memory": "1GiB"}}
            (folder / "job.json").write_text(json.dumps(job))
            id = json.loads(cli("submit", folder / "job.json", "--json"))["job_id"]
            seconds = file.seconds()
            cli("cancel", id)
            return seconds

        def curl(behind):
            command = f"curl -sS --fail --cacert {web.ca_file} {url} | tee {folder}/x.npy | sha256sum" if behind else \
                f"curl -sS --fail --cacert {web.ca_file} {url} -o {folder}/x.npy"
            subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
            (folder / "x.npy").unlink()
            return file.seconds()

        try:
            rounds = [(node(), curl(False), curl(True)) for _ in range(args.rounds)]
        finally:
            for program in reversed(programs):
                program.stop()
            web.close()
    speeds = [round(args.mib / statistics.median(seconds)) for seconds in zip(*rounds)]
    print(json.dumps({"mib": args.mib, "node_mib_per_second": speeds[0], "curl_mib_per_second": speeds[1], "curl_and_sha256sum_mib_per_second": speeds[2],
                      "ratio": round(statistics.median(b / a for a, b, _ in rounds), 2),
                      "ratio_with_sha256sum": round(statistics.median(c / a for a, _, c in rounds), 2)}))


if __name__ == "__main__":
    main()
