"""The training of a job's model by PyTorch, in one of the forms in which it is written in Python.

    python torch_loop.py loader|tensors|compile FOLDER DATA [--samples N] [--epochs N] [--threads N] [--test]

FOLDER has the model.json of a finished job: the same layers, the same optimizer with its options, the same batch size. It
begins anew, from PyTorch's initial values. DATA is a folder of IDX files, a text, or an array of images whose labels
stand beside it (arrays.npy, labels.npy). Forms:

    loader   the usual loop: a Dataset of single samples, a DataLoader, the optimizer with its defaults
    tensors  all samples in one tensor, batches by an index, the fused optimizer, images in channels-last memory
    compile  as tensors, the model and its loss through torch.compile; how long that takes counts for nothing

Needs torch. Prints one line of JSON: samples_per_second and samples_per_cpu_second of the steps after the first,
peak_memory_bytes of the process; "absent" with the reason when the compiler fails.
"""

import argparse
import gzip
import importlib.util
import json
import pathlib
import resource
import time

import torch
from torch.nn import functional

HERE = pathlib.Path(__file__).resolve().parent
WARM_STEPS = 2


def read_samples(data: pathlib.Path, described: dict, samples: int, part: str = "train") -> tuple:
    """Samples as a Dataset holds them, and their labels: bytes of images, tokens of a text. Only IDX files have a part t10k."""
    shape = described["model"]["input_shape"]
    if data.is_dir():
        def read(name: str, header_bytes: int) -> torch.Tensor:
            with gzip.open(data / name) as file:
                return torch.frombuffer(bytearray(file.read()[header_bytes:]), dtype=torch.uint8)
        x, y = read(f"{part}-images-idx3-ubyte.gz", 16), read(f"{part}-labels-idx1-ubyte.gz", 8)
    elif data.suffix == ".npy":
        def array(path: pathlib.Path) -> torch.Tensor:
            content = path.read_bytes()
            return torch.frombuffer(bytearray(content[10 + int.from_bytes(content[8:10], "little"):]), dtype=torch.uint8)
        x, y = array(data), array(data.with_name("labels.npy"))
    else:
        text = torch.frombuffer(bytearray(data.read_bytes()), dtype=torch.uint8).long()
        count = (len(text) - 1) // shape[0]
        x, y = text[:count * shape[0]], text[1:count * shape[0] + 1].view(count, shape[0])
    return x.view(-1, *shape)[:samples], y.long()[:samples]


class Samples(torch.utils.data.Dataset):
    """Images become floats in [0, 1] when asked for, as torchvision's ToTensor makes them."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor):
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int):
        x = self.x[index]
        return (x.float() / 255 if x.dtype == torch.uint8 else x), self.y[index]


def make_model(described: dict) -> torch.nn.Module:
    # By its path: the package around it needs gRPC.
    spec = importlib.util.spec_from_file_location("torch_model", HERE.parent.parent / "python/cyxwiz/_torch_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model(described)


def make_optimizer(training: dict, model: torch.nn.Module, **options) -> torch.optim.Optimizer:
    options.update(lr=training["learning_rate"], weight_decay=training["weight_decay"])
    if training["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=training["momentum"], **options)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training["optimizer"]]
    return kind(model.parameters(), betas=(training["beta1"], training["beta2"]), eps=training["epsilon"], **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=["loader", "tensors", "compile"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="tell the accuracy on the test images too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    described = json.loads((args.folder / "model.json").read_text())
    training = described["training"]
    batch, clip_norm = training["batch_size"], training.get("clip_norm")
    x, y = read_samples(args.data, described, args.samples)
    model = make_model(described).train()
    images = any(isinstance(module, torch.nn.Conv2d) for module in model.modules())

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(x).flatten(0, -2), y.flatten())

    if args.form == "loader":
        batches = torch.utils.data.DataLoader(Samples(x, y), batch_size=batch, shuffle=True, drop_last=True)
        optimizer = make_optimizer(training, model)
    else:
        if x.dtype == torch.uint8:
            x = x.float() / 255
        if images:
            model = model.to(memory_format=torch.channels_last)
            x = x.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(training, model, fused=True)

        class Batches:
            def __iter__(self):
                for index in torch.randperm(len(y)).split(batch):
                    if len(index) == batch:
                        yield x[index], y[index]
        batches = Batches()
        if args.form == "compile":
            loss_of = torch.compile(loss_of)

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss_of(x, y).backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()

    begin = time.perf_counter()
    try:
        for _, (first_x, first_y) in zip(range(WARM_STEPS), batches):
            step(first_x, first_y)
    except Exception as error:  # of whatever the compiler needs
        if args.form != "compile":
            raise
        print(json.dumps({"absent": f"torch.compile failed: {str(error).splitlines()[0][:200]}"}))
        return
    first_seconds = time.perf_counter() - begin
    done = 0
    begin, cpu_begin = time.perf_counter(), time.process_time()
    for _ in range(args.epochs):
        for batch_x, batch_y in batches:
            step(batch_x, batch_y)
            done += len(batch_y)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    result = {}
    if args.test:
        x, y = read_samples(args.data, described, args.samples, "t10k")
        model.eval()
        with torch.no_grad():
            hits = sum(int((model(part.float() / 255).argmax(-1) == labels).sum()) for part, labels in zip(x.split(1024), y.split(1024)))
        result["accuracy"] = hits / len(y)
    print(json.dumps({**result, "samples_per_second": done / seconds, "samples_per_cpu_second": done / cpu_seconds,
                      "first_steps_seconds": first_seconds, "torch": torch.__version__,
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
