"""The layers of a model as PyTorch modules. Imported only by cyxwiz.torch, since it needs torch."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Tuple

import torch
from torch import nn
from torch.nn import functional

#: A layer as model.json describes it.
Layer = Dict[str, Any]


class Model(nn.Module):
    """A model of layers; see cyxwiz.torch.load.

    Args:
        described: the content of model.json.
    """

    def __init__(self, described: Dict[str, Any]) -> None:
        super().__init__()
        model = described["model"]
        values = {"input": 0}
        # Layers in the order in which they run: module, and the places of its inputs among the values.
        self._steps: List[Tuple[nn.Module, nn.Module, List[int]]] = []
        for layer in model["layers"]:
            inputs = layer.get("inputs", [len(self._steps)])
            places = [values[name] if isinstance(name, str) else name for name in inputs]
            module = KINDS[layer["type"]](layer)
            own = layer["type"] == "transformer_encoder"  # its activation is within
            activation = ACTIVATIONS["linear" if own else layer.get("activation", "linear")]()
            _put(self, layer["name"].split("."), module)
            self._steps.append((module, activation, places))
            values[layer["name"]] = len(self._steps)

        taken = described["input"]
        self._divisor = float(taken["divisor"])
        data = described.get("data", {})
        self._is_table = isinstance(data.get("columns"), list)
        if self._is_table:
            fill, column, category = _columns(data)
            self.register_buffer("_fill", torch.tensor(fill), persistent=False)
            self.register_buffer("_column", torch.tensor(column), persistent=False)
            self.register_buffer("_category", torch.tensor(category), persistent=False)
        normalize = data.get("normalize", {})
        # Channels where they come first, else the places of the last dimension.
        each = [-1] + [1] * (len(model["input_shape"]) - 1) if len(model["input_shape"]) >= 3 else [-1]
        for name, default in (("mean", 0.0), ("deviation", 1.0)):
            scale = torch.tensor(normalize.get(name, [default])).reshape(each)
            self.register_buffer("_" + name, scale, persistent=False)

    def prepare(self, x: Any) -> torch.Tensor:
        """What `forward` takes, made from values of the data set: bytes of images; of a table a value a column, in
        the order of `data.columns` in model.json: a number, or the place of a category in the column's `categories`;
        NaN where it is missing.

        Args:
            x: a tensor or NumPy array of batch x input_shape, of a table batch x columns.

        Raises:
            TypeError: it is neither, or an array of what are no numbers.
        """
        if not isinstance(x, torch.Tensor):
            if not hasattr(x, "__array__"):
                raise TypeError(f"prepare: expected a tensor or a NumPy array, found {type(x).__name__}")
            x = torch.tensor(x.__array__())
        x = x.float()
        if self._is_table:
            x = torch.where(x.isnan(), self._fill, x)[:, self._column]
            x = torch.where(self._category.isnan(), x, (x == self._category).float())
        return (x / self._divisor - self._mean) / self._deviation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        for module, activation, places in self._steps:
            values.append(activation(module(*(values[place] for place in places))))
        return values[-1]


def _columns(data: Dict[str, Any]) -> Tuple[List[float], List[int], List[float]]:
    """How the columns of a table become features.

    Args:
        data: that of model.json.

    Returns:
        Of each column what stands for a missing value (NaN: nothing); of each feature the column that it comes from,
        and the category that it is 1 for (NaN: it is the column's value).
    """
    fill: List[float] = []
    column: List[int] = []
    category: List[float] = []
    for place, one in enumerate(data["columns"]):
        names = one.get("categories")
        if names is None:
            fill.append(data["fill"][len(column)] if "fill" in data else math.nan)
        else:
            fill.append(names.index("") if "" in names else math.nan)
        of_column = range(len(names)) if names is not None and one["encoding"] == "one_hot" else [math.nan]
        column += [place] * len(of_column)
        category += of_column
    return fill, column, category


def _put(parent: nn.Module, path: List[str], module: nn.Module) -> None:
    """Makes `module` a descendant of `parent` under that path. A layer may have any name, so attributes stay out of it."""
    children = parent._modules
    if len(path) > 1:
        if path[0] not in children:
            children[path[0]] = nn.Module()
        return _put(children[path[0]], path[1:], module)
    if path[0] in children:  # a layer within "a" came before "a"
        for name, child in children[path[0]]._modules.items():
            module._modules[name] = child
    children[path[0]] = module


class Function(nn.Module):
    """A layer without tensors."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        return self.function(*x)


def directions(layer: Layer) -> int:
    return len(layer["input_shape"]) - 1


def same_padding(layer: Layer, window: List[int]) -> List[int]:
    """Zeros around, for functional.pad: begin and end, the last direction first; the odd one at the end."""
    around = []
    for size, out, reach, stride in zip(layer["input_shape"][1:], layer["output_shape"][1:], window, layer["strides"]):
        total = max((out - 1) * stride + reach - size, 0)
        around = [total // 2, total - total // 2] + around
    return around


def numbers(padding: Any, count: int) -> List[int]:
    return [0] * count if isinstance(padding, str) else list(padding)


# ---- dense, embeddings

class Embedding(nn.Embedding):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.long())


class PositionalEmbedding(nn.Module):
    def __init__(self, positions: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(positions, features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight[:x.shape[1]]


def dense(layer: Layer) -> nn.Module:
    return nn.Linear(layer["input_shape"][-1], layer["units"], bias=layer["use_bias"])


def positional_embedding(layer: Layer) -> nn.Module:
    length, features = layer["input_shape"]
    return PositionalEmbedding(layer.get("sequence_length", length), features)


# ---- convolutions

def convolution(layer: Layer, channels: int, filters: int, groups: int, bias: bool) -> nn.Module:
    count = directions(layer)
    padding = layer["padding"]
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[count - 1](
        channels, filters, layer["kernel_size"], stride=layer["strides"],
        padding=padding if padding == "same" else numbers(padding, count),
        dilation=layer["dilation_rate"], groups=groups, bias=bias)


def plain_convolution(layer: Layer) -> nn.Module:
    return convolution(layer, layer["input_shape"][0], layer["filters"], layer["groups"], layer["use_bias"])


def depthwise_convolution(layer: Layer, bias: bool) -> nn.Module:
    channels = layer["input_shape"][0]
    return convolution(layer, channels, channels * layer["depth_multiplier"], channels, bias)


class SeparableConvolution(nn.Module):
    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.depthwise = depthwise_convolution(layer, bias=False)
        self.pointwise = nn.Conv2d(self.depthwise.out_channels, layer["filters"], 1, bias=layer["use_bias"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(x))


def transposed_convolution(layer: Layer) -> nn.Module:
    padding, output_padding = numbers(layer["padding"], 2), layer["output_padding"]
    if layer["padding"] == "same":
        # Half of what the kernel reaches beyond the strides, the odd one given back at the end.
        over = [kernel - stride for kernel, stride in zip(layer["kernel_size"], layer["strides"])]
        padding, output_padding = [(one + 1) // 2 for one in over], [one % 2 for one in over]
    return nn.ConvTranspose2d(layer["input_shape"][0], layer["filters"], layer["kernel_size"], layer["strides"], padding,
                              output_padding, layer["groups"], layer["use_bias"], layer["dilation_rate"])


# ---- poolings

def max_pooling(layer: Layer) -> nn.Module:
    count, pool, strides = directions(layer), layer["pool_size"], layer["strides"]
    largest = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[count - 1]
    if layer["padding"] == "same":
        around = same_padding(layer, pool)
        return Function(lambda x: largest(functional.pad(x, around, value=-math.inf), pool, strides))
    return Function(lambda x: largest(x, pool, strides, numbers(layer["padding"], count)))


def average_pooling(layer: Layer) -> nn.Module:
    count, pool, strides = directions(layer), layer["pool_size"], layer["strides"]
    mean = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[count - 1]
    if layer["padding"] == "same":
        # Padding does not count: divided by the part of each window that lies in the image.
        around = same_padding(layer, pool)
        return Function(lambda x: mean(functional.pad(x, around), pool, strides)
                        / mean(functional.pad(torch.ones_like(x[:1, :1]), around), pool, strides))
    return Function(lambda x: mean(x, pool, strides, numbers(layer["padding"], count)))


def global_max_pooling(layer: Layer) -> nn.Module:
    axes = tuple(range(2, directions(layer) + 2))
    return Function(lambda x: x.amax(axes, keepdim=layer["keepdims"]))


def global_average_pooling(layer: Layer) -> nn.Module:
    axes = tuple(range(2, directions(layer) + 2))
    return Function(lambda x: x.mean(axes, keepdim=layer["keepdims"]))


# ---- normalisations

def batch_normalization(layer: Layer) -> nn.Module:
    shape = layer["input_shape"]
    kind = {3: nn.BatchNorm2d, 4: nn.BatchNorm3d}.get(len(shape), nn.BatchNorm1d)
    return kind(shape[0], eps=layer["epsilon"], momentum=layer["momentum"])


class LayerNormalization(nn.Module):
    """As nn.LayerNorm, with or without scale and bias."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.shape, self.epsilon = layer["input_shape"][-layer["dimensions"]:], layer["epsilon"]
        self.weight = nn.Parameter(torch.ones(self.shape)) if layer["scale"] else None
        self.bias = nn.Parameter(torch.zeros(self.shape)) if layer["use_bias"] else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.shape, self.weight, self.bias, self.epsilon)


# ---- sequences

def _states(outputs: torch.Tensor, last: torch.Tensor, layer: Layer) -> torch.Tensor:
    if layer["return_sequences"]:
        return outputs
    return torch.cat([last[-2], last[-1]], 1) if layer["bidirectional"] else last[-1]


def _recurrent_options(layer: Layer) -> Dict[str, Any]:
    return {"input_size": layer["input_shape"][-1], "hidden_size": layer["units"], "num_layers": layer["num_layers"],
            "bias": layer["use_bias"], "batch_first": True, "dropout": layer["dropout"],
            "bidirectional": layer["bidirectional"]}


class Lstm(nn.LSTM):
    def __init__(self, layer: Layer) -> None:
        super().__init__(**_recurrent_options(layer))
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, (last, _) = super().forward(x)
        return _states(outputs, last, self.layer)


class Gru(nn.GRU):
    def __init__(self, layer: Layer) -> None:
        super().__init__(**_recurrent_options(layer))
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, last = super().forward(x)
        return _states(outputs, last, self.layer)


def _causal_mask(x: torch.Tensor) -> torch.Tensor:
    return nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device, dtype=x.dtype)


class Attention(nn.MultiheadAttention):
    def __init__(self, layer: Layer) -> None:
        super().__init__(layer["input_shape"][-1], layer["num_heads"], dropout=layer["dropout"], bias=layer["use_bias"],
                         batch_first=True)
        self.causal = layer["causal"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = _causal_mask(x) if self.causal else None
        return super().forward(x, x, x, attn_mask=mask, need_weights=False, is_causal=self.causal)[0]


class Encoder(nn.TransformerEncoderLayer):
    def __init__(self, layer: Layer) -> None:
        super().__init__(layer["input_shape"][-1], layer["num_heads"], layer["feed_forward"], layer["dropout"],
                         activation=layer["activation"], layer_norm_eps=layer["epsilon"], batch_first=True,
                         norm_first=layer["norm_first"], bias=layer["use_bias"])
        self.causal = layer["causal"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x, src_mask=_causal_mask(x) if self.causal else None, is_causal=self.causal)


# ---- shapes

def reshape(layer: Layer) -> nn.Module:
    return Function(lambda x: x.reshape(x.shape[0], *layer["output_shape"]))


def permute(layer: Layer) -> nn.Module:
    return Function(lambda x: x.permute(0, *layer["dims"]))


def upsampling(layer: Layer) -> nn.Module:
    return nn.Upsample(size=tuple(layer["output_shape"][1:]), mode=layer["interpolation"])


def zero_padding(layer: Layer) -> nn.Module:
    (top, bottom), (left, right) = layer["padding"]
    return nn.ZeroPad2d((left, right, top, bottom))


def add(*x: torch.Tensor) -> torch.Tensor:
    total = x[0]
    for one in x[1:]:
        total = total + one
    return total


def multiply(*x: torch.Tensor) -> torch.Tensor:
    product = x[0]
    for one in x[1:]:
        product = product * one
    return product


def concatenate(layer: Layer) -> nn.Module:
    return Function(lambda *x: torch.cat(x, layer["axis"]))


# ---- the tables

ACTIVATIONS: Dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hard_sigmoid": nn.Hardsigmoid,
    "hard_swish": nn.Hardswish,
    "softmax": lambda: nn.Softmax(-1),
}

#: The module of each layer that a model may have.
KINDS: Dict[str, Callable[[Layer], nn.Module]] = {
    **{name: (lambda layer, make=make: make()) for name, make in ACTIVATIONS.items() if name != "linear"},
    "leaky_relu": lambda layer: nn.LeakyReLU(layer["negative_slope"]),
    "elu": lambda layer: nn.ELU(layer["alpha"]),
    "gelu": lambda layer: nn.GELU(layer["approximate"]),
    "dense": dense,
    "dropout": lambda layer: nn.Dropout(layer["rate"]),
    "embedding": lambda layer: Embedding(layer["input_dim"], layer["output_dim"]),
    "positional_embedding": positional_embedding,
    "conv1d": plain_convolution,
    "conv2d": plain_convolution,
    "conv3d": plain_convolution,
    "depthwise_conv2d": lambda layer: depthwise_convolution(layer, layer["use_bias"]),
    "separable_conv2d": SeparableConvolution,
    "conv2d_transpose": transposed_convolution,
    **{f"max_pooling{n}d": max_pooling for n in (1, 2, 3)},
    **{f"average_pooling{n}d": average_pooling for n in (1, 2, 3)},
    **{f"global_max_pooling{n}d": global_max_pooling for n in (1, 2, 3)},
    **{f"global_average_pooling{n}d": global_average_pooling for n in (1, 2, 3)},
    "batch_normalization": batch_normalization,
    "layer_normalization": LayerNormalization,
    "group_normalization": lambda layer: nn.GroupNorm(layer["groups"], layer["input_shape"][0], eps=layer["epsilon"]),
    "rms_normalization": lambda layer: nn.RMSNorm(layer["input_shape"][-1], eps=layer["epsilon"]),
    "lstm": Lstm,
    "gru": Gru,
    "multi_head_attention": Attention,
    "transformer_encoder": Encoder,
    "flatten": lambda layer: nn.Flatten(),
    "reshape": reshape,
    "permute": permute,
    "upsampling2d": upsampling,
    "zero_padding2d": zero_padding,
    "add": lambda layer: Function(add),
    "multiply": lambda layer: Function(multiply),
    "concatenate": concatenate,
}
