#!/usr/bin/env python3
"""Writes training.json: what PyTorch and scikit-learn say of losses, metrics, optimizers and schedules.

    python3 -m venv VENV && VENV/bin/pip install numpy torch==2.15.0 scikit-learn
    VENV/bin/python tests/golden/training.py

src/runner/training_test.cc compares with it.
"""

import json
import pathlib

import numpy as np
import sklearn.metrics as sk
import torch
from torch import nn
from torch.optim import lr_scheduler

OUT = pathlib.Path(__file__).with_suffix(".json")


def numbers(tensor) -> list:
    return [float(value) for value in torch.as_tensor(tensor).detach().double().flatten()]


def losses() -> list:
    """Each loss on a fixed output: its value and its gradient by the output."""
    torch.manual_seed(1)
    cases = []

    def add(name, hyperparameters, function, output, target):
        output = output.clone().requires_grad_()
        value = function(output, target)
        value.backward()
        cases.append({"name": name, "hyperparameters": hyperparameters, "output_shape": list(output.shape),
                      "output": numbers(output), "target_shape": list(target.shape), "target": numbers(target),
                      "value": float(value.detach()), "gradient": numbers(output.grad)})

    logits, classes = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    weights = torch.tensor([1.0, 2.5, 0.0, 0.5])
    add("cross entropy", {"loss": "cross_entropy"}, nn.CrossEntropyLoss(), logits, classes)
    add("cross entropy with smoothing", {"loss": "cross_entropy", "label_smoothing": "0.1"},
        nn.CrossEntropyLoss(label_smoothing=0.1), logits, classes)
    add("cross entropy with weights", {"loss": "cross_entropy", "class_weights": "1,2.5,0,0.5"},
        nn.CrossEntropyLoss(weight=weights), logits, classes)
    add("cross entropy with both",
        {"loss": "cross_entropy", "class_weights": "1,2.5,0,0.5", "label_smoothing": "0.2"},
        nn.CrossEntropyLoss(weight=weights, label_smoothing=0.2), logits, classes)
    positions, labels = torch.randn(2, 3, 4), torch.tensor([[0, 3, 1], [2, 2, 0]])
    # PyTorch takes the classes second, we take them last.
    add("cross entropy of positions", {"loss": "cross_entropy"},
        lambda o, y: nn.CrossEntropyLoss()(o.transpose(1, 2), y), positions, labels)
    a, b = torch.randn(3, 2) * 2, torch.randn(3, 2)
    add("mse", {"loss": "mse"}, nn.MSELoss(), a, b)
    add("l1", {"loss": "l1"}, nn.L1Loss(), a, b)
    add("huber", {"loss": "huber"}, nn.HuberLoss(), a, b)
    add("huber with delta", {"loss": "huber", "huber_delta": "0.3"}, nn.HuberLoss(delta=0.3), a, b)
    add("binary cross entropy", {"loss": "binary_cross_entropy"}, nn.BCEWithLogitsLoss(), a, torch.rand(3, 2))
    distribution = torch.softmax(torch.randn(5, 4), 1)
    add("kl", {"loss": "kl"},
        lambda o, y: nn.KLDivLoss(reduction="batchmean")(torch.log_softmax(o, 1), y), logits, distribution)
    return cases


def metrics() -> list:
    """Each metric by scikit-learn."""
    random = np.random.default_rng(2)
    cases = []
    labels = random.integers(0, 5, 60)
    labels[labels == 3] = 1  # a class without labels
    scores = random.normal(size=(60, 6)).astype(np.float32)
    scores[np.arange(60), labels] += 1
    scores[:, 4] -= 20  # a class that is never predicted
    predicted = scores.argmax(1)
    macro = {"average": "macro", "zero_division": 0}
    exponents = np.exp(scores.astype(np.float64))
    probabilities = exponents / exponents.sum(1, keepdims=True)
    cases.append({
        "name": "classes", "task": "classes", "scores": scores.tolist(), "labels": labels.tolist(),
        "metrics": {
            "precision": sk.precision_score(labels, predicted, **macro),
            "recall": sk.recall_score(labels, predicted, **macro),
            "f1": sk.f1_score(labels, predicted, **macro),
            "top_2_accuracy": sk.top_k_accuracy_score(labels, scores, k=2, labels=np.arange(6)),
            "top_3_accuracy": sk.top_k_accuracy_score(labels, scores, k=3, labels=np.arange(6)),
            "perplexity": float(np.exp(sk.log_loss(labels, probabilities, labels=np.arange(6)))),
        },
        "confusion_matrix": sk.confusion_matrix(labels, predicted, labels=np.arange(6)).tolist()})
    labels = random.integers(0, 2, 50)
    score = np.round(random.normal(size=50) + labels, 1).astype(np.float32)  # some are equal
    predicted = (score > 0).astype(int)
    cases.append({
        "name": "binary", "task": "binary", "scores": score[:, None].tolist(), "labels": labels.tolist(),
        "metrics": {
            "precision": sk.precision_score(labels, predicted, **macro),
            "recall": sk.recall_score(labels, predicted, **macro),
            "f1": sk.f1_score(labels, predicted, **macro),
            "auc": sk.roc_auc_score(labels, score),
        },
        "confusion_matrix": sk.confusion_matrix(labels, predicted).tolist()})
    truth = random.normal(size=(40, 3)) * [1, 5, 0.1] + [0, 100, -3]
    guess = truth + random.normal(size=(40, 3))
    truth, guess = truth.astype(np.float32).astype(float), guess.astype(np.float32).astype(float)
    cases.append({
        "name": "numbers", "task": "numbers", "scores": guess.tolist(), "labels": truth.tolist(),
        "metrics": {
            "mae": sk.mean_absolute_error(truth, guess),
            "rmse": float(np.sqrt(sk.mean_squared_error(truth, guess))),
            "r2": sk.r2_score(truth, guess, multioutput="variance_weighted"),
        }})
    return cases


def main() -> None:
    golden = {"torch": torch.__version__.split("+")[0], "losses": losses(), "metrics": metrics()}
    lines = ",\n".join(
        f"{json.dumps(key)}: " + (json.dumps(value) if isinstance(value, str) else
                                  "[\n" + ",\n".join(json.dumps(case) for case in value) + "\n]")
        for key, value in golden.items())
    OUT.write_text("{" + lines + "}\n")


if __name__ == "__main__":
    main()
