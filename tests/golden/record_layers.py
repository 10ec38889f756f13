#!/usr/bin/env python3
"""Records what PyTorch's modules do: initial values, outputs and gradients of small models.

    record_layers.py        (needs torch 2.15, numpy and safetensors)

Writes layers.json (the models, in CyxWiz's form) and layers.safetensors (their tensors) beside
itself. src/runner/golden_test.cc builds the same models and compares. Of each case:

    <case>/x               input
    <case>/y               output in training
    <case>/state/<name>    parameters and buffers as they are first, after manual_seed(7)
    <case>/after/<name>    buffers after that one step of training
    <case>/grad/<name>     gradient of (y * y).sum() + y.sum(); input: of x
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

HERE = pathlib.Path(__file__).resolve().parent
tensors, cases = {}, []


class Chain(nn.Module):
    """Modules under the names of the layers, one after the other."""

    def __init__(self, **modules):
        super().__init__()
        for name, make in modules.items():
            self.add_module(name, make())

    def forward(self, x):
        for module in self.children():
            x = module(x)
        return x


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Embedding(nn.Embedding):
    def forward(self, x):
        return super().forward(x.long())


class Separable(nn.Module):
    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=False)
        self.pointwise = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class Recurrent(nn.Module):
    """Not a container: the tensors carry the layer's own name."""

    def __new__(cls, kind, sequences, *sizes, **options):
        module = kind(*sizes, batch_first=True, **options)
        module.register_forward_hook(lambda _, __, result: cls.pick(result, sequences, options))
        return module

    @staticmethod
    def pick(result, sequences, options):
        outputs, last = result
        if sequences:
            return outputs
        last = last[0] if isinstance(last, tuple) else last
        return torch.cat([last[-2], last[-1]], 1) if options.get("bidirectional") else last[-1]


class Attention(nn.MultiheadAttention):
    def __init__(self, *sizes, causal=False, **options):
        super().__init__(*sizes, batch_first=True, **options)
        self.causal = causal

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if self.causal else None
        return super().forward(x, x, x, attn_mask=mask, need_weights=False, is_causal=self.causal)[0]


class Encoder(nn.TransformerEncoderLayer):
    def __init__(self, *sizes, causal=False, **options):
        super().__init__(*sizes, dropout=0.0, batch_first=True, **options)
        self.causal = causal

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if self.causal else None
        return super().forward(x, src_mask=mask, is_causal=self.causal)


class Positional(nn.Module):
    def __init__(self, length, features):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, features).normal_(0, 0.02))

    def forward(self, x):
        return x + self.weight[: x.shape[1]]


class ResidualNet(nn.Module):
    """What the "residual" case's JSON says, by hand."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.ModuleList(
            Chain(conv2d_1=lambda: nn.Conv2d(4, 4, 3, padding=1), relu_1=nn.ReLU,
                  conv2d_2=lambda: nn.Conv2d(4, 4, 3, padding=1)) for _ in range(2))
        self.down = nn.ModuleDict({"a": nn.Conv2d(4, 6, 3, stride=2, padding=1),
                                   "short": nn.Conv2d(4, 6, 1, stride=2)})
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        for block in self.body:
            x = functional.relu(block(x) + x)
        x = functional.relu(self.down["a"](x) + self.down["short"](x))
        x = torch.cat([x, x * x], 1)
        return self.head(x.mean((2, 3)))


def record(name, layers, shape, module, whole=0):
    """layers: JSON; module: makes the PyTorch module; whole: inputs are numbers below this."""
    torch.manual_seed(100 + len(cases))
    x = torch.randint(whole, (2, *shape)).float() if whole else torch.randn(2, *shape)
    if not whole:
        x.requires_grad_()
    torch.manual_seed(7)
    model = module().train()
    for key, value in model.state_dict().items():
        tensors[f"{name}/state/{key}"] = value.clone()
    y = model(x)
    (y.square().sum() + y.sum()).backward()
    for key, value in model.named_buffers():
        tensors[f"{name}/after/{key}"] = value.clone()
    for key, parameter in model.named_parameters():
        tensors[f"{name}/grad/{key}"] = parameter.grad.clone()
    if not whole:
        tensors[f"{name}/grad/input"] = x.grad.clone()
    tensors[f"{name}/x"] = x.detach().clone()
    tensors[f"{name}/y"] = y.detach().contiguous().clone()
    cases.append({"name": name, "model": {"input_shape": list(shape), "layers": layers}})


def one(name, layer, shape, make, **options):
    """A layer with tensors, called l."""
    record(name, [dict(layer, name="l")], shape, lambda: Chain(l=make), **options)


def after_dense(name, layer, shape, make):
    """A layer without tensors, after a dense one so that there is something to train."""
    units = shape[-1]
    record(name, [{"type": "dense", "units": units, "name": "d"}, dict(layer, name="l")], shape,
           lambda: Chain(d=lambda: nn.Linear(units, units), l=make))


def main():
    one("dense", {"type": "dense", "units": 4}, (6,), lambda: nn.Linear(6, 4))
    one("dense_on_sequence", {"type": "dense", "units": 4, "use_bias": False}, (3, 5),
        lambda: nn.Linear(5, 4, bias=False))
    one("conv1d", {"type": "conv1d", "filters": 4, "kernel_size": 3, "strides": 2, "padding": 1,
                   "dilation_rate": 2}, (3, 9),
        lambda: nn.Conv1d(3, 4, 3, stride=2, padding=1, dilation=2))
    one("conv2d", {"type": "conv2d", "filters": 4, "kernel_size": [3, 2], "strides": [2, 1],
                   "padding": [1, 0], "groups": 2}, (4, 6, 5),
        lambda: nn.Conv2d(4, 4, (3, 2), stride=(2, 1), padding=(1, 0), groups=2))
    one("conv2d_same", {"type": "conv2d", "filters": 2, "kernel_size": [4, 3], "padding": "same",
                        "dilation_rate": [1, 2]}, (2, 6, 7),
        lambda: nn.Conv2d(2, 2, (4, 3), padding="same", dilation=(1, 2)))
    one("conv3d", {"type": "conv3d", "filters": 2, "kernel_size": 2}, (2, 3, 4, 3),
        lambda: nn.Conv3d(2, 2, 2))
    one("depthwise_conv2d", {"type": "depthwise_conv2d", "kernel_size": 3, "strides": 2,
                             "depth_multiplier": 2, "padding": 1}, (3, 6, 5),
        lambda: nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3))
    one("separable_conv2d", {"type": "separable_conv2d", "filters": 4, "kernel_size": 3,
                             "depth_multiplier": 2, "padding": "same"}, (3, 5, 4), Separable)
    one("conv2d_transpose", {"type": "conv2d_transpose", "filters": 4, "kernel_size": 3,
                             "strides": [2, 1], "padding": 1, "output_padding": [1, 0],
                             "groups": 2}, (2, 4, 3),
        lambda: nn.ConvTranspose2d(2, 4, 3, stride=(2, 1), padding=1, output_padding=(1, 0),
                                   groups=2))
    one("conv2d_transpose_same", {"type": "conv2d_transpose", "filters": 3, "kernel_size": 3,
                                  "strides": 2, "padding": "same"}, (2, 3, 4),
        lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1))

    for n, shape in ((1, (2, 9)), (2, (2, 7, 8)), (3, (2, 4, 5, 4))):
        after_dense(f"max_pooling{n}d", {"type": f"max_pooling{n}d", "pool_size": 3, "strides": 2,
                                         "padding": 1}, shape,
                    lambda n=n: getattr(nn, f"MaxPool{n}d")(3, 2, 1))
        after_dense(f"average_pooling{n}d", {"type": f"average_pooling{n}d", "pool_size": 3,
                                             "padding": 1}, shape,
                    lambda n=n: getattr(nn, f"AvgPool{n}d")(3, 3, 1))
        after_dense(f"global_max_pooling{n}d", {"type": f"global_max_pooling{n}d"}, shape,
                    lambda n=n: nn.Sequential(getattr(nn, f"AdaptiveMaxPool{n}d")(1),
                                              nn.Flatten(1)))
        after_dense(f"global_average_pooling{n}d",
                    {"type": f"global_average_pooling{n}d", "keepdims": True}, shape,
                    lambda n=n: getattr(nn, f"AdaptiveAvgPool{n}d")(1))

    for shape in ((5,), (3, 4), (3, 4, 2), (2, 2, 3, 2)):
        batch = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
        one(f"batch_normalization_{len(shape)}", {"type": "batch_normalization"}, shape,
            lambda shape=shape, batch=batch: batch[len(shape)](shape[0]))
    one("layer_normalization", {"type": "layer_normalization"}, (3, 6), lambda: nn.LayerNorm(6))
    one("layer_normalization_2", {"type": "LayerNorm", "normalized_shape": [3, 6], "eps": 1e-3,
                                  "bias": False}, (2, 3, 6),
        lambda: nn.LayerNorm([3, 6], eps=1e-3, bias=False))
    one("group_normalization", {"type": "group_normalization", "groups": 2}, (4, 3, 2),
        lambda: nn.GroupNorm(2, 4))
    one("rms_normalization", {"type": "rms_normalization"}, (3, 6), lambda: nn.RMSNorm(6))

    one("embedding", {"type": "embedding", "input_dim": 11, "output_dim": 4}, (6,),
        lambda: Embedding(11, 4), whole=11)
    one("positional_embedding", {"type": "positional_embedding", "sequence_length": 8}, (6, 4),
        lambda: Positional(8, 4))
    for kind in ("lstm", "gru"):
        module = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        one(kind, {"type": kind, "units": 4}, (5, 3), lambda m=module: Recurrent(m, False, 3, 4))
        one(f"{kind}_sequences", {"type": kind, "units": 4, "num_layers": 2, "use_bias": False,
                                  "return_sequences": True}, (5, 3),
            lambda m=module: Recurrent(m, True, 3, 4, num_layers=2, bias=False))
        for sequences in (False, True):
            one(f"{kind}_bidirectional_{sequences}",
                {"type": kind, "units": 3, "num_layers": 2, "bidirectional": True,
                 "return_sequences": sequences}, (4, 2),
                lambda m=module, s=sequences: Recurrent(m, s, 2, 3, num_layers=2,
                                                        bidirectional=True))
    one("attention", {"type": "multi_head_attention", "num_heads": 2}, (5, 8),
        lambda: Attention(8, 2))
    one("attention_causal", {"type": "multi_head_attention", "num_heads": 4, "causal": True,
                             "use_bias": False}, (5, 8),
        lambda: Attention(8, 4, causal=True, bias=False))
    one("transformer_encoder", {"type": "transformer_encoder", "num_heads": 2, "feed_forward": 12,
                                "dropout": 0}, (5, 8), lambda: Encoder(8, 2, 12))
    one("transformer_encoder_causal",
        {"type": "transformer_encoder", "num_heads": 2, "feed_forward": 12, "dropout": 0,
         "norm_first": True, "activation": "gelu", "causal": True}, (5, 8),
        lambda: Encoder(8, 2, 12, norm_first=True, activation="gelu", causal=True))

    after_dense("reshape", {"type": "reshape", "target_shape": [2, -1]}, (3, 4),
                lambda: Function(lambda x: x.reshape(-1, 2, 6)))
    after_dense("permute", {"type": "permute", "dims": [3, 1, 2]}, (2, 3, 4),
                lambda: Function(lambda x: x.permute(0, 3, 1, 2)))
    after_dense("upsampling2d", {"type": "upsampling2d", "size": [2, 3]}, (2, 3, 2),
                lambda: nn.Upsample(scale_factor=(2, 3)))
    after_dense("upsampling2d_bilinear", {"type": "upsampling2d", "interpolation": "bilinear"},
                (2, 3, 2), lambda: nn.Upsample(scale_factor=2, mode="bilinear"))
    after_dense("zero_padding2d", {"type": "zero_padding2d", "padding": [[1, 2], [0, 3]]},
                (2, 3, 2), lambda: nn.ZeroPad2d((0, 3, 1, 2)))

    for kind, make in (("relu", nn.ReLU), ("relu6", nn.ReLU6), ("leaky_relu", nn.LeakyReLU),
                       ("elu", nn.ELU), ("selu", nn.SELU), ("gelu", nn.GELU), ("silu", nn.SiLU),
                       ("mish", nn.Mish), ("softplus", nn.Softplus), ("sigmoid", nn.Sigmoid),
                       ("tanh", nn.Tanh), ("hard_sigmoid", nn.Hardsigmoid),
                       ("hard_swish", nn.Hardswish), ("softmax", lambda: nn.Softmax(-1))):
        after_dense(kind, {"type": kind}, (3, 7), make)
        record(f"activation_{kind}", [{"type": "dense", "units": 7, "name": "d",
                                       "activation": kind}], (7,),
               lambda make=make: Chain(d=lambda: nn.Linear(7, 7), l=make))
    after_dense("gelu_tanh", {"type": "gelu", "approximate": "tanh"}, (7,),
                lambda: nn.GELU("tanh"))
    after_dense("leaky_relu_slope", {"type": "LeakyReLU", "negative_slope": 0.3}, (7,),
                lambda: nn.LeakyReLU(0.3))

    def conv(filters, **options):
        return dict({"type": "conv2d", "filters": filters, "kernel_size": 3, "padding": 1},
                    **options)

    record("residual", [
        conv(4, name="stem", use_bias=False),
        {"type": "batch_normalization", "name": "norm", "activation": "relu"},
        {"type": "block", "name": "body", "repeat": 2, "residual": True, "activation": "relu",
         "layers": [conv(4), {"type": "relu"}, conv(4)]},
        {"type": "block", "name": "down", "layers": [
            conv(6, name="a", strides=2),
            conv(6, name="short", kernel_size=1, strides=2, padding=0, inputs="input"),
            {"type": "add", "inputs": ["a", "short"], "activation": "relu", "name": "sum"}]},
        {"type": "multiply", "name": "square", "inputs": ["down", "down"]},
        {"type": "concatenate", "axis": 1, "inputs": ["down", "square"]},
        {"type": "global_average_pooling2d"},
        {"type": "dense", "units": 3, "name": "head"}], (1, 6, 6), ResidualNet)
    record("small_gpt", [
        {"type": "embedding", "input_dim": 9, "output_dim": 8, "name": "tokens"},
        {"type": "positional_embedding", "name": "positions"},
        {"type": "block", "name": "blocks", "repeat": 2, "layers": [
            {"type": "transformer_encoder", "name": "layer", "num_heads": 2, "feed_forward": 16,
             "dropout": 0, "norm_first": True, "causal": True}]},
        {"type": "layer_normalization", "name": "norm"},
        {"type": "dense", "units": 9, "name": "head"}], (5,),
        lambda: Chain(tokens=lambda: Embedding(9, 8), positions=lambda: Positional(5, 8),
                      blocks=lambda: nn.Sequential(*(
                          Chain(layer=lambda: Encoder(8, 2, 16, norm_first=True, causal=True))
                          for _ in range(2))),
                      norm=lambda: nn.LayerNorm(8), head=lambda: nn.Linear(8, 9)), whole=9)

    one("batch_normalization_options", {"type": "batch_normalization", "momentum": 0.3,
                                        "epsilon": 0.05}, (3, 4, 2),
        lambda: nn.BatchNorm2d(3, eps=0.05, momentum=0.3))
    one("group_normalization_options", {"type": "group_normalization", "groups": 2,
                                        "epsilon": 0.05}, (4, 3), lambda: nn.GroupNorm(2, 4, eps=0.05))
    one("rms_normalization_options", {"type": "rms_normalization", "epsilon": 0.05}, (3, 6),
        lambda: nn.RMSNorm(6, eps=0.05))
    one("transformer_encoder_options",
        {"type": "transformer_encoder", "num_heads": 2, "feed_forward": 12, "dropout": 0,
         "epsilon": 0.05}, (5, 8), lambda: Encoder(8, 2, 12, layer_norm_eps=0.05))
    after_dense("elu_alpha", {"type": "elu", "alpha": 0.4}, (7,), lambda: nn.ELU(0.4))

    save_file(tensors, HERE / "layers.safetensors")
    (HERE / "layers.json").write_text(
        "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print(f"{len(cases)} cases, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
