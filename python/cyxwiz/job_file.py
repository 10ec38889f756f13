"""Jobs in the form of a job file (docs/reference/job-files.md), turned into the wire's JobConfig.

Only the form is checked here; what the values mean, the server checks, and it reports every problem at once.
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Optional, Union

from cyxwiz.protocol import common_pb2, job_pb2

#: A job file's content, or its path.
JobLike = Union[Mapping[str, Any], str, "os.PathLike[str]"]

_RESOURCES = {"cpu_millis": "cpu_millis", "memory_bytes": "memory_bytes", "gpus": "gpus"}


def job_config(job: Optional[JobLike] = None, **fields: Any) -> job_pb2.JobConfig:
    """The JobConfig of a job in the form of a job file.

    Args:
        job: a mapping, or the path of a JSON file.
        **fields: keys that win over `job`'s.

    Raises:
        ValueError: an unknown key, or a value of the wrong kind; the message names the key.
        OSError: the file cannot be read.
    """
    content: Dict[str, Any] = {}
    if job is not None:
        content.update(job if isinstance(job, Mapping) else _read(Path(job)))
    content.update({key: value for key, value in fields.items() if value is not None})

    # The wire's zero is LOW; a job that says nothing is an ordinary one.
    config = job_pb2.JobConfig(priority=job_pb2.PRIORITY_NORMAL)
    for key, value in content.items():
        setter = _SETTERS.get(key)
        if setter is None:
            raise ValueError(f"job: unknown key {key!r}{_nearest(key, _SETTERS)}; the keys are {', '.join(_SETTERS)}")
        setter(config, key, value)
    return config


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _text(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"job: {key}: expected text, found {value!r}")
    setattr(config, _FIELDS.get(key, key), os.fspath(value))


def _number(message: Any, key: str, value: Any, name: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"job: {name or key}: expected a whole number, found {value!r}")
    try:
        setattr(message, key, value)
    except ValueError:
        raise ValueError(f"job: {name or key}: expected a whole number that fits its field, found {value!r}") from None


def _enum(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    field, kind, prefix = _ENUMS[key]
    names = {name[len(prefix):].lower(): number for name, number in kind.items()}
    names.pop("unknown", None)
    if isinstance(value, int) and not isinstance(value, bool) and value in kind.values():
        number = int(value)
    elif isinstance(value, str) and value.lower() in names:
        number = names[value.lower()]
    elif isinstance(value, str) and value in kind.keys():
        number = kind.Value(value)
    else:
        raise ValueError(f"job: {key}: expected one of {', '.join(names)}, found {value!r}{_nearest(str(value), names)}")
    setattr(config, field, number)


def _model(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if isinstance(value, (Mapping, list)):
        value = json.dumps(value)
    if not isinstance(value, str):
        raise ValueError(f"job: {key}: expected a mapping or JSON text, found {value!r}")
    config.model_definition = value


def _hyperparameters(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"job: {key}: expected a mapping, found {value!r}")
    for name, setting in value.items():
        if isinstance(setting, bool):
            text = "true" if setting else "false"
        elif isinstance(setting, (int, float)):
            text = repr(setting)
        elif isinstance(setting, str):
            text = setting
        elif hasattr(setting, "item"):  # a scalar of numpy or torch
            text = repr(setting.item())
        else:
            raise ValueError(f"job: {key}.{name}: expected a number, true, false or text, found {setting!r}")
        config.hyperparameters[str(name)] = text


def _resources(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"job: {key}: expected a mapping, found {value!r}")
    for name, amount in value.items():
        if name not in _RESOURCES:
            raise ValueError(f"job: {key}: unknown key {name!r}{_nearest(name, _RESOURCES)}; "
                             f"the keys are {', '.join(_RESOURCES)}")
        _number(config.resources, _RESOURCES[name], amount, f"{key}.{name}")


_FIELDS = {"dataset": "dataset_uri", "user": "user_id"}
_ENUMS = {
    "type": ("job_type", job_pb2.JobType, "JOB_TYPE_"),
    "priority": ("priority", job_pb2.JobPriority, "PRIORITY_"),
    "required_device": ("required_device", common_pb2.DeviceType, "DEVICE_"),
}
_SETTERS = {
    "name": _text,
    "type": _enum,
    "priority": _enum,
    "model": _model,
    "hyperparameters": _hyperparameters,
    "dataset": _text,
    "batch_size": _number,
    "epochs": _number,
    "required_device": _enum,
    "estimated_memory": _number,
    "resources": _resources,
    "max_retries": _number,
    "job_id": _text,
    "user": _text,
}
