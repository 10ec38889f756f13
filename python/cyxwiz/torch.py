"""Trained models as PyTorch modules.

    import cyxwiz.torch

    model = cyxwiz.torch.load("models/mlp")        # a folder that `cyxwiz download` has left, or a job's id
    scores = model(model.prepare(images))          # images: a tensor or NumPy array of what the data set holds

Needs the packages torch (2.4 or later) and safetensors, which are imported when `load` is called. Nothing of a model is
code: model.json names the layers, weights.safetensors holds the tensors.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Union

from cyxwiz import errors

if TYPE_CHECKING:
    from cyxwiz._torch_model import Model
    from cyxwiz.client import Client, JobRef

MODEL_FILE, WEIGHTS_FILE = "model.json", "weights.safetensors"


def load(source: Union["JobRef", "os.PathLike[str]"], *, client: Optional["Client"] = None) -> "Model":
    """Builds the module of a trained model and loads its weights.

    The names of its state dict are those in weights.safetensors. The module computes what the model computed in its job:
    `forward` takes float32 of batch x input_shape, and ends with a softmax or sigmoid where the model has one; `prepare`
    makes that input from values of the data set. It comes in evaluation mode, on the CPU, its parameters trainable.

    Args:
        source: a folder with model.json and weights.safetensors, or a job (its id, or what submit and status return).
        client: fetches the files of a job; default: a Client of $CYXWIZ_SERVER.

    Raises:
        ImportError: torch or safetensors is not installed.
        NotFound: there is no such folder, file or job, or the job left no model.
        Corrupt: the files are no model, or do not fit each other.
    """
    try:
        import safetensors.torch  # noqa: F401
        import torch  # noqa: F401
    except ImportError as missing:
        raise ImportError(f"cyxwiz.torch needs PyTorch and safetensors: pip install torch safetensors ({missing})",
                          name=missing.name) from missing
    if isinstance(source, os.PathLike) or (isinstance(source, str) and
                                           (os.sep in source or (Path(source) / MODEL_FILE).is_file())):
        return _load_folder(Path(source))
    with tempfile.TemporaryDirectory(prefix="cyxwiz-") as folder:
        if client is not None:
            client.download(source, folder)
        else:
            from cyxwiz.client import Client
            with Client() as own:
                own.download(source, folder)
        return _load_folder(Path(folder))


def _read(folder: Path) -> Dict[str, Any]:
    for name in (MODEL_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise errors.NotFound(f"there is no '{folder / name}': expected a folder as 'cyxwiz download ID' leaves it")
    try:
        described = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise errors.Corrupt(f"'{folder / MODEL_FILE}' is not JSON: {error}") from None
    if not isinstance(described, dict) or described.get("format") != "cyxwiz-model" or described.get("version") != 1:
        raise errors.Corrupt(f"'{folder / MODEL_FILE}' is not the model of a job: expected \"format\": \"cyxwiz-model\" "
                             "and \"version\": 1")
    return described


def _load_folder(folder: Path) -> "Model":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from cyxwiz._torch_model import Model

    described = _read(folder)
    try:
        model = Model(described)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise errors.Corrupt(f"'{folder / MODEL_FILE}' is not the model of a job: {error!r}") from error
    try:
        model.load_state_dict(load_file(str(folder / WEIGHTS_FILE)))
    except (SafetensorError, RuntimeError) as error:
        raise errors.Corrupt(f"'{folder / WEIGHTS_FILE}' does not hold the weights of the model beside it: {error}") from error
    return model.eval()
