#!/usr/bin/env python3
"""Writes training.json: what PyTorch and scikit-learn say of losses, metrics, optimizers and schedules.

    python3 -m venv VENV && VENV/bin/pip install numpy torch==2.15.0 scikit-learn
    VENV/bin/python tests/golden/record_training.py

src/runner/training_test.cc compares with it.
"""

import json
import pathlib

import numpy as np
import sklearn.metrics as sk
import torch
from torch import nn
from torch.optim import lr_scheduler

OUT = pathlib.Path(__file__).with_name("training.json")


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
    add("kl of several distributions", {"loss": "kl"},
        lambda o, y: nn.KLDivLoss(reduction="batchmean")(torch.log_softmax(o, -1), y),
        torch.randn(2, 3, 4), torch.softmax(torch.randn(2, 3, 4), -1))
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


class Lion(torch.optim.Optimizer):
    """arXiv:2302.06675, algorithm 2, written from the paper: PyTorch has none."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                lr, (beta1, beta2) = group["lr"], group["betas"]
                for p in group["params"]:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    c = beta1 * m + (1 - beta1) * p.grad
                    p -= lr * (torch.sign(c) + group["weight_decay"] * p)
                    m.copy_(beta2 * m + (1 - beta2) * p.grad)


def optimizers() -> list:
    """Parameters (a tall weight, a bias, a wide weight) after 12 steps down sum(a * (1 - cos(p - t)))."""
    torch.manual_seed(3)
    shapes = [(5, 3), (5,), (2, 5)]
    start, target = [torch.randn(s) for s in shapes], [torch.randn(s) for s in shapes]
    scale = [torch.rand(s) + 0.5 for s in shapes]
    cases = []

    def add(name, hyperparameters, make, steps=12):
        parameters = [p.clone().requires_grad_() for p in start]
        optimizers = make(parameters)

        def closure():
            for p in parameters:
                p.grad = None
            loss = sum((a * (1 - torch.cos(p - t))).sum() for p, t, a in zip(parameters, target, scale))
            loss.backward()
            return loss

        for _ in range(steps):
            if isinstance(optimizers[0], torch.optim.LBFGS):
                optimizers[0].step(closure)
                continue
            closure()
            for optimizer in optimizers:
                optimizer.step()
        cases.append({"name": name, "hyperparameters": hyperparameters, "steps": steps,
                      "result": [number for p in parameters for number in numbers(p)]})

    optim = torch.optim
    add("sgd", {"optimizer": "sgd"}, lambda p: [optim.SGD(p, lr=1e-2)])
    add("sgd with nesterov",
        {"optimizer": "sgd", "lr": "0.1", "momentum": "0.9", "nesterov": "true", "weight_decay": "0.01"},
        lambda p: [optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)])
    add("adam", {"optimizer": "adam"}, lambda p: [optim.Adam(p)])
    add("adam with options", {"optimizer": "adam", "lr": "0.1", "beta1": "0.8", "beta2": "0.99", "eps": "1e-3",
                              "weight_decay": "0.1"},
        lambda p: [optim.Adam(p, lr=0.1, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.1)])
    add("adamw", {"optimizer": "adamw"}, lambda p: [optim.AdamW(p)])
    add("rmsprop", {"optimizer": "rmsprop"}, lambda p: [optim.RMSprop(p)])
    add("rmsprop with options", {"optimizer": "rmsprop", "lr": "0.05", "alpha": "0.9", "momentum": "0.8",
                                 "centered": "true", "weight_decay": "0.1", "eps": "1e-4"},
        lambda p: [optim.RMSprop(p, lr=0.05, alpha=0.9, momentum=0.8, centered=True, weight_decay=0.1, eps=1e-4)])
    add("adagrad", {"optimizer": "adagrad"}, lambda p: [optim.Adagrad(p)])
    add("adagrad with options", {"optimizer": "adagrad", "lr": "0.5", "lr_decay": "0.1", "weight_decay": "0.1",
                                 "initial_accumulator_value": "0.2", "eps": "1e-3"},
        lambda p: [optim.Adagrad(p, lr=0.5, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.2, eps=1e-3)])
    add("lbfgs", {"optimizer": "lbfgs"}, lambda p: [optim.LBFGS(p)], steps=1)
    add("lbfgs in short steps", {"optimizer": "lbfgs", "lr": "0.5", "max_iter": "3", "history_size": "4"},
        lambda p: [optim.LBFGS(p, lr=0.5, max_iter=3, history_size=4)], steps=4)
    add("lion", {"optimizer": "lion"}, lambda p: [Lion(p)])
    add("lion with options",
        {"optimizer": "lion", "lr": "0.02", "beta1": "0.8", "beta2": "0.9", "weight_decay": "0.5"},
        lambda p: [Lion(p, lr=0.02, betas=(0.8, 0.9), weight_decay=0.5)])
    matrices = lambda p: [q for q in p if q.dim() == 2]
    others = lambda p: [q for q in p if q.dim() != 2]
    add("muon", {"optimizer": "muon"},
        lambda p: [optim.Muon(matrices(p)), optim.AdamW(others(p), lr=1e-3, weight_decay=0.1)])
    add("muon with options", {"optimizer": "muon", "lr": "0.05", "momentum": "0.8", "nesterov": "false",
                              "weight_decay": "0.2", "ns_steps": "3", "adjust_lr": "match_rms_adamw"},
        lambda p: [optim.Muon(matrices(p), lr=0.05, momentum=0.8, nesterov=False, weight_decay=0.2, ns_steps=3,
                              adjust_lr_fn="match_rms_adamw"),
                   optim.AdamW(others(p), lr=0.05, weight_decay=0.2)])
    return [{"name": "problem", "shapes": shapes, "start": [numbers(t) for t in start],
             "target": [numbers(t) for t in target], "scale": [numbers(t) for t in scale]}] + cases


def schedules() -> list:
    """The learning rate of each step of 6 epochs of 5 steps; of plateau that of each epoch."""
    epochs, steps = 6, 5
    cases = []

    def run(name, hyperparameters, make, by_step, lr=0.1, warmup=0, start=1 / 3):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        schedule = make(optimizer)
        if warmup > 0:
            warm = lr_scheduler.LinearLR(optimizer, start_factor=start, total_iters=warmup)
            schedule = lr_scheduler.SequentialLR(optimizer, [warm, schedule], [warmup])
        rates = []
        for _ in range(epochs):
            for _ in range(steps):
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                if by_step:
                    schedule.step()
            if not by_step:
                schedule.step()
        cases.append({"name": name, "hyperparameters": dict(hyperparameters, lr=str(lr)), "rates": rates})

    run("constant", {}, lambda o: lr_scheduler.ConstantLR(o, factor=1), True)
    run("step", {"lr_schedule": "step", "lr_step_size": "2", "lr_gamma": "0.5"},
        lambda o: lr_scheduler.StepLR(o, 2, 0.5), False)
    run("step by steps", {"lr_schedule": "step", "lr_step_size": "7", "lr_interval": "step"},
        lambda o: lr_scheduler.StepLR(o, 7), True)
    run("multi step", {"lr_schedule": "multi_step", "lr_milestones": "1,4"},
        lambda o: lr_scheduler.MultiStepLR(o, [1, 4]), False)
    run("exponential", {"lr_schedule": "exponential", "lr_gamma": "0.7"},
        lambda o: lr_scheduler.ExponentialLR(o, 0.7), False)
    run("cosine", {"lr_schedule": "cosine", "lr_min": "0.01"},
        lambda o: lr_scheduler.CosineAnnealingLR(o, epochs, 0.01), False)
    run("cosine by steps", {"lr_schedule": "cosine", "lr_interval": "step"},
        lambda o: lr_scheduler.CosineAnnealingLR(o, epochs * steps), True)
    run("one cycle", {"lr_schedule": "one_cycle"},
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=epochs * steps, cycle_momentum=False), True)
    run("one cycle with options", {"lr_schedule": "one_cycle", "lr_pct_start": "0.5", "lr_div_factor": "10",
                                   "lr_final_div_factor": "100"},
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=epochs * steps, pct_start=0.5, div_factor=10,
                                          final_div_factor=100, cycle_momentum=False), True)
    run("warm-up", {"warmup_steps": "8"}, lambda o: lr_scheduler.ConstantLR(o, factor=1), True, warmup=8)
    run("warm-up before cosine",
        {"lr_schedule": "cosine", "lr_interval": "step", "warmup_epochs": "2", "warmup_start_factor": "0.1"},
        lambda o: lr_scheduler.CosineAnnealingLR(o, epochs * steps - 10), True, warmup=10, start=0.1)
    run("warm-up before one cycle", {"lr_schedule": "one_cycle", "warmup_steps": "6"},
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=epochs * steps - 6, cycle_momentum=False), True, warmup=6)

    values = [1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95, 0.9, 0.8, 0.8, 0.8, 0.7999, 0.8, 0.8, 0.8, 0.8, 0.8]
    for name, options, arguments in (
            ("plateau", {"lr_patience": "2"}, {"patience": 2}),
            ("plateau with options",
             {"lr_patience": "1", "lr_factor": "0.5", "lr_cooldown": "2", "lr_threshold": "0.01", "lr_min": "0.02"},
             {"patience": 1, "factor": 0.5, "cooldown": 2, "threshold": 0.01, "min_lr": 0.02})):
        for monitor, mode, sign in (("train_loss", "min", 1), ("train_accuracy", "max", -1)):
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
            schedule = lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, **arguments)
            rates, seen = [], [v if sign > 0 else 2 - v for v in values]
            for value in seen:
                schedule.step(value)
                rates.append(optimizer.param_groups[0]["lr"])
            cases.append({"name": f"{name}, {mode}", "monitor": monitor, "values": seen, "rates": rates,
                          "hyperparameters": dict(options, lr="0.1", lr_schedule="plateau", monitor=monitor)})
    return cases


def main() -> None:
    golden = {"torch": torch.__version__.split("+")[0], "losses": losses(), "metrics": metrics(),
              "optimizers": optimizers(), "schedules": schedules()}
    lines = ",\n".join(
        f"{json.dumps(key)}: " + (json.dumps(value) if isinstance(value, str) else
                                  "[\n" + ",\n".join(json.dumps(case) for case in value) + "\n]")
        for key, value in golden.items())
    OUT.write_text("{" + lines + "}\n")


if __name__ == "__main__":
    main()
