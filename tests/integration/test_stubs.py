"""A program that has nothing but the stubs and an insecure channel, as existing clients do."""

import subprocess
import sys

SCRIPT = r"""
import sys
import grpc
from cyxwiz.protocol import common_pb2, job_pb2, job_pb2_grpc

channel = grpc.insecure_channel(sys.argv[1])
stub = job_pb2_grpc.JobServiceStub(channel)
response = stub.SubmitJob(job_pb2.SubmitJobRequest(config=job_pb2.JobConfig(
    job_type=job_pb2.JOB_TYPE_TRAINING,
    model_definition='{"layers": [{"type": "dense", "units": 10}]}',
    hyperparameters={"learning_rate": "0.01", "epochs": "3", "batch_size": "32", "optimizer": "adam"},
    dataset_uri="mock://random_data",
)))
print(response.assigned_node_id)
for update in stub.StreamJobUpdates(job_pb2.GetJobStatusRequest(job_id=response.job_id)):
    pass
status = stub.GetJobStatus(job_pb2.GetJobStatusRequest(job_id=response.job_id)).status
assert status.status == common_pb2.STATUS_COMPLETED, status
print("completed", status.progress, status.metrics["train_accuracy"])
"""


def test_stubs_alone_submit_and_see_the_job_complete(cluster):
    done = subprocess.run([sys.executable, "-c", SCRIPT, cluster.address], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    node, completed = done.stdout.splitlines()
    assert node == cluster.nodes[0].id
    word, progress, accuracy = completed.split()
    assert word == "completed" and float(progress) == 1.0
    assert float(accuracy) > 0.5, "the mock data can be learnt"
