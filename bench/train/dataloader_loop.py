"""The usual PyTorch training loop: a Dataset of single samples, a DataLoader, torch.optim.Adam.

    python dataloader_loop.py mlp|cnn [--epochs N] [--batch N] [--threads N] [--data FOLDER]

Needs torch. Prints one line of JSON with samples_per_second, the median over the epochs.
"""

import argparse
import gzip
import json
import statistics
import time

import torch
from torch import nn


def read_idx(path: str, header_bytes: int) -> torch.Tensor:
    with gzip.open(path) as file:
        return torch.frombuffer(bytearray(file.read()[header_bytes:]), dtype=torch.uint8)


class Images(torch.utils.data.Dataset):
    """Images as floats in [0, 1], made when asked for, as torchvision's ToTensor does."""

    def __init__(self, folder: str):
        self.labels = read_idx(f"{folder}/train-labels-idx1-ubyte.gz", 8).long()
        self.images = read_idx(f"{folder}/train-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.images[index].float() / 255, self.labels[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", choices=["mlp", "cnn"])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    args = parser.parse_args()
    mlp = args.loop == "mlp"
    torch.set_num_threads(args.threads or (1 if mlp else 2))
    torch.manual_seed(0)
    if mlp:
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    else:
        model = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(1600, 10))
    loader = torch.utils.data.DataLoader(
        Images(args.data), batch_size=args.batch or (32 if mlp else 64), shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    rates = []
    for _ in range(args.epochs):
        begin = time.perf_counter()
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
        rates.append(len(loader.dataset) / (time.perf_counter() - begin))
    print(json.dumps({"loop": args.loop, "samples_per_second": round(statistics.median(rates))}))


if __name__ == "__main__":
    main()
