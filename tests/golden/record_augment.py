#!/usr/bin/env python3
"""Writes augment.json: what torchvision makes of an image's colours, and of a batch that is mixed.

    python3 -m venv VENV && VENV/bin/pip install torch==2.15.0 torchvision==0.29.2
    VENV/bin/python tests/golden/record_augment.py

src/data/colour_jitter_test.cc and src/runner/feed_test.cc compare with it.
"""

import json
import pathlib

import torch
from torchvision.transforms import _functional_tensor as functional
from torchvision.transforms import v2

OUT = pathlib.Path(__file__).with_name("augment.json")
OPERATIONS = {
    "brightness": (functional.adjust_brightness, [0.0, 0.6, 1.0, 1.7]),
    "contrast": (functional.adjust_contrast, [0.0, 0.6, 1.0, 1.7]),
    "saturation": (functional.adjust_saturation, [0.0, 0.6, 1.0, 1.7]),
    "hue": (functional.adjust_hue, [-0.5, -0.2, 0.0, 0.1, 0.5]),
}


def numbers(tensor) -> list:
    return [float(value) for value in tensor.double().flatten()]


def colours() -> list:
    """Each operation on images of bytes as values from 0 to 1, [channels, 4, 5]; the first pixels are gray, black, white and pure colours."""
    torch.manual_seed(1)
    image = torch.randint(0, 256, (3, 4, 5))
    for place, colour in enumerate([(7, 7, 7), (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]):
        image[:, place // 5, place % 5] = torch.tensor(colour)
    cases = []
    for channels in (3, 1):
        pixels = image[:channels].float() / 255
        for name, (function, factors) in OPERATIONS.items():
            for factor in factors:
                cases.append({"operation": name, "factor": factor, "channels": channels, "image": numbers(pixels),
                              "changed": numbers(function(pixels, factor))})
    return cases


def mixup() -> dict:
    """A batch of 5 samples of 3 classes mixed by one share, and its cross entropy."""
    torch.manual_seed(2)
    batch, labels, share = torch.rand(5, 1, 2, 2), torch.tensor([0, 2, 1, 1, 0]), 0.3
    transform = v2.MixUp(num_classes=3)
    params = {"lam": share, "labels": labels, "batch_size": 5}
    mixed = transform.transform(batch, params)
    targets = transform.transform(labels, params)
    logits = torch.randn(5, 3)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    return {"share": share, "batch": numbers(batch), "labels": labels.tolist(), "mixed": numbers(mixed), "targets": numbers(targets),
            "logits": numbers(logits), "cross_entropy": float(loss)}


OUT.write_text(json.dumps({"torchvision": "0.29.2", "colours": colours(), "mixup": mixup()}, indent=0) + "\n")
