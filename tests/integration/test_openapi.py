"""What the REST side answers is what docs/reference/openapi.yaml describes: every key, type and enum of live answers."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cluster import job, long_job

DESCRIPTION = yaml.safe_load((Path(__file__).resolve().parents[2] / "docs/reference/openapi.yaml").read_text())


def strict(schema):
    """The schema without the freedom to have keys that it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        schema.setdefault("additionalProperties", False)
    return schema


COMPONENTS = strict(copy.deepcopy(DESCRIPTION["components"]))


def check(method, path, status, headers, body):
    answer = DESCRIPTION["paths"][path][method.lower()]["responses"]
    answer = answer.get(str(status)) or answer["default"]
    if "$ref" in answer:
        answer = DESCRIPTION["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    schema = answer["content"][headers["Content-Type"].partition(";")[0]]["schema"]
    validator = jsonschema.Draft202012Validator({**strict(copy.deepcopy(schema)), "components": COMPONENTS})
    return [f"{method} {path}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in validator.iter_errors(body)]


@pytest.fixture(scope="module")
def ended(shared):
    return shared.succeed(shared.submit(job(name="described", user="ann", project="vision", limits={"run": "1h"}, resources={
        "named": {}, "cpus": 1}, node_labels={}, retries=1)).job_id).status.job_id


def test_live_answers_are_as_described(shared, ended):
    running = shared.submit(long_job(resources={"cpus": 2})).job_id
    waiting = shared.submit(long_job(resources={"cpus": 2})).job_id
    started = [running, waiting]
    try:
        shared.wait_running(running)
        ask_everything(shared, ended, running, waiting, started)
    finally:  # others use the cluster too
        for id in started:
            shared.client().cancel(id)
            shared.wait(id)


def ask_everything(shared, ended, running, waiting, started):
    config = {"name": "by rest", "model_definition": json.dumps({"layers": [{"type": "dense", "units": 10}]}),
              "dataset_uri": "mock://random_data", "hyperparameters": {"epochs": "1"}}
    problems = []
    for method, path, query, body in (
            ("GET", "/healthz", "", None), ("GET", "/readyz", "", None),
            ("GET", "/api/v1/jobs", "?page_size=2", None), ("GET", "/api/v1/jobs/{id}", ended, None),
            ("GET", "/api/v1/jobs/{id}", running, None), ("GET", "/api/v1/jobs/{id}", waiting, None),
            ("GET", "/api/v1/jobs/{id}", "nope", None),
            ("GET", "/api/v1/jobs/{id}/explain", waiting, None), ("GET", "/api/v1/events", "?page_size=50", None),
            ("GET", "/api/v1/nodes", "", None), ("GET", "/api/v1/nodes/{id}", shared.nodes[0].id, None),
            ("GET", "/api/v1/nodes/{id}", "nope", None), ("GET", "/api/v1/datasets", "", None),
            ("POST", "/api/v1/jobs", "", config), ("POST", "/api/v1/jobs", "", {**config, "model_definition": "{"}),
            ("POST", "/api/v1/jobs/{id}/priority", waiting + "?priority=PRIORITY_HIGH", None),
            ("POST", "/api/v1/jobs/{id}/pause", waiting, None), ("POST", "/api/v1/jobs/{id}/resume", waiting, None),
            ("POST", "/api/v1/jobs/{id}/cancel", waiting, None), ("POST", "/api/v1/jobs/{id}/retry", ended, None)):
        id, mark, rest = query.partition("?")
        url = path.replace("{id}", id) + mark + rest
        status, headers, answer = shared.rest(method, url, body)
        if path in ("/api/v1/jobs", "/api/v1/jobs/{id}/retry") and method == "POST" and status < 300:
            started.append(answer.get("job_id") or answer["status"]["job_id"])
        if "json" in headers["Content-Type"]:
            problems += check(method, path, status, headers, answer)
    assert not problems, "\n".join(problems)
