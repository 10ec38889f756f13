"""How long torch.save of a model with its Adam optimizer takes, while training waits.

    python save_loop.py FOLDER FILE

FOLDER has the model.json of a finished job. Prints one line of JSON with the median of seconds.
"""

import json
import pathlib
import statistics
import sys
import time

import torch

from torch_loop import make_model, make_optimizer


def main() -> None:
    described = json.loads((pathlib.Path(sys.argv[1]) / "model.json").read_text())
    model = make_model(described)
    optimizer = make_optimizer(described["training"], model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    took = []
    for _ in range(5):
        begin = time.perf_counter()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, sys.argv[2])
        took.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": statistics.median(took)}))


if __name__ == "__main__":
    main()
