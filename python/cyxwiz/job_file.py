"""Jobs in the form of a job file (docs/reference/job-files.md), turned into the wire's JobConfig.

Only the form is checked here; what the values mean, the server checks, and it reports every problem at once.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Optional, Union
from urllib.parse import quote

from cyxwiz.protocol import common_pb2, job_pb2

#: A job file's content, or its path.
JobLike = Union[Mapping[str, Any], str, "os.PathLike[str]"]

class _Written(float):
    """A number of a job file, with the text that it was written as: 0.10 stays 0.10."""

    def __new__(cls, text: str) -> "_Written":
        number = super().__new__(cls, text)
        number.text = text
        return number


def job_config(job: Optional[JobLike] = None, **fields: Any) -> job_pb2.JobConfig:
    """The JobConfig of a job in the form of a job file.

    Args:
        job: a mapping, or the path of a JSON file.
        **fields: keys that win over `job`'s.

    Raises:
        ValueError: an unknown key, or a value of the wrong kind; the message names the key.
        OSError: the file cannot be read.
    """
    content = _canonical("job", {} if job is None else job if isinstance(job, Mapping) else _read(Path(job)), _ALIASES)
    content.update(_canonical("job", {key: value for key, value in fields.items() if value is not None}, _ALIASES))

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
        content = json.loads(path.read_text(encoding="utf-8"), parse_float=_Written)
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _canonical(what: str, content: Mapping[str, Any], aliases: Mapping[str, str]) -> Dict[str, Any]:
    """`content` with each alias under its own name."""
    names: Dict[str, Any] = {}
    for key, value in content.items():
        name = aliases.get(key, key)
        if name in names:
            raise ValueError(f"{what}: {key!r} is given twice, the second time under another name")
        names[name] = value
    return names


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _dataset(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        return _text(config, key, value)
    for name in value:
        if name not in ("uri", "sha256"):
            raise ValueError(f"job: {key}: unknown key {name!r}{_nearest(str(name), ('uri', 'sha256'))}; the keys are uri, sha256")
    _text(config, key, value.get("uri"))
    if "sha256" in value:
        config.dataset_uri = _with_sha256(key, config.dataset_uri, value["sha256"])


def _with_sha256(key: str, uri: str, hashes: Any) -> str:
    """`uri` with the hash of its file, or of each of its files by name, as a further parameter."""
    if not uri.startswith(("https://", "http://", "s3://")):
        raise ValueError(f"job: {key}.sha256: is for what is fetched: expected an https:// or s3:// URI, found {uri!r}")
    if isinstance(hashes, Mapping) and hashes and all(isinstance(one, str) for one in hashes.values()):
        hashes = ",".join(f"{name}:{one}" for name, one in hashes.items())
    if not isinstance(hashes, str):
        raise ValueError(f"job: {key}.sha256: expected 64 hexadecimal digits, or a mapping from names to them, found {hashes!r}")
    mark = "?" if uri.startswith("s3://") else "#"
    separator = mark if mark not in uri else "" if uri.endswith(mark) else "&"
    return f"{uri}{separator}sha256={quote(hashes, safe=':,/-._~')}"


def _text(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"job: {key}: expected text, found {value!r}")
    setattr(config, _FIELDS.get(key, key), os.fspath(value))


def _number(message: Any, key: str, value: Any, name: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"job: {name or key}: expected a whole number, found {value!r}")
    try:
        setattr(message, _FIELDS.get(key, key), value)
    except ValueError:
        raise ValueError(f"job: {name or key}: expected a whole number that fits its field, found {value!r}") from None


def _enum(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    field, kind, prefix = _ENUMS[key]
    names = {name[len(prefix):].lower(): number for name, number in kind.items()}
    unknown = names.pop("unknown", None)
    if key == "device":
        names["any"], names["gpu"] = unknown, names["cuda"]
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


def _model_from(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    value = getattr(value, "job_id", value)  # a Submission or a JobStatus stands for its job
    if isinstance(value, str):
        value = {"job": value}
    value = _canonical(f"job: {key}", _mapping(key, value, "{'model': SHA-256, 'weights': SHA-256}"),
                       {"job_id": "job", "model_sha256": "model", "weights_sha256": "weights"})
    fields = {"job": "job_id", "model": "model_sha256", "weights": "weights_sha256"}
    for name, text in value.items():
        if name not in fields:
            raise ValueError(f"job: {key}: unknown key {name!r}{_nearest(name, fields)}; the keys are {', '.join(fields)}")
        if not isinstance(text, str):
            raise ValueError(f"job: {key}.{name}: expected text, found {text!r}")
        setattr(config.model_from, fields[name], text)


def _hyperparameters(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"job: {key}: expected a mapping, found {value!r}")
    for name, setting in value.items():
        if isinstance(setting, bool):
            text = "true" if setting else "false"
        elif isinstance(setting, _Written):
            text = setting.text
        elif isinstance(setting, (int, float)):
            text = repr(setting)
        elif isinstance(setting, str):
            text = setting
        elif isinstance(setting, (list, tuple)) and setting and all(
                isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in setting):
            text = ", ".join(str(one) for one in setting)
        elif hasattr(setting, "item"):  # a scalar of numpy or torch
            text = repr(setting.item())
        else:
            raise ValueError(f"job: {key}.{name}: expected a number, true, false or text, found {setting!r}")
        config.hyperparameters[str(name)] = text


_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
          "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def memory_bytes(where: str, value: Any) -> int:
    """An amount of memory as job files write it. Raises ValueError, beginning with `where`, for anything else."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?([A-Za-z]*)", value)
        if match and match[2].lower() in _UNITS:
            return round(float(match[1]) * _UNITS[match[2].lower()])
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{where}: expected an amount of memory such as '512MiB', '2GiB' or a number of bytes, found {value!r}")


def _bytes(name: str, value: Any) -> int:
    return memory_bytes(f"job: {name}", value)


def _memory(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    _number(config, key, _bytes(key, value))


def _mapping(where: str, value: Any, example: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"job: {where}: expected a mapping such as {example}, found {value!r}")
    return value


def _resources(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    value = _mapping(key, value, "{'cpus': 1.5, 'memory': '2GiB'}")
    for name, amount in _canonical(f"job: {key}", value, {"memory_bytes": "memory", "disk_bytes": "disk",
                                                     "gpu_memory_bytes": "gpu_memory"}).items():
        where = f"{key}.{name}"
        if name == "cpus":
            if isinstance(amount, bool) or not isinstance(amount, (int, float)):
                raise ValueError(f"job: {where}: expected a number of cores, found {amount!r}")
            if "cpu_millis" in value:
                raise ValueError(f"job: {key}: cpus and cpu_millis say the same thing: leave one out")
            _number(config.resources, "cpu_millis", round(amount * 1000), where)
        elif name == "memory":
            _number(config.resources, "memory_bytes", _bytes(where, amount), where)
        elif name == "disk":
            _number(config.resources, "disk_bytes", _bytes(where, amount), where)
        elif name == "named":
            for own, number in _mapping(where, amount, "{'licence': 1}").items():
                if isinstance(number, bool) or not isinstance(number, int):
                    raise ValueError(f"job: {where}.{own}: expected a whole number, found {number!r}")
                config.resources.named[str(own)] = number
        elif name == "gpu_share":
            if isinstance(amount, bool) or not isinstance(amount, (int, float)):
                raise ValueError(f"job: {where}: expected a share of one GPU from 0.001 to 1, found {amount!r}")
            if "gpus" in value:
                raise ValueError(f"job: {key}: gpus and gpu_share exclude each other: leave one out")
            _number(config.resources, "gpu_share_millis", round(amount * 1000), where)
        elif name == "gpu_memory":
            _number(config.resources, "gpu_memory_bytes", _bytes(where, amount), where)
        elif name in ("cpu_millis", "gpus"):
            _number(config.resources, name, amount, where)
        elif name in ("nodes", "processes"):
            _number(config, name, amount, where)
        elif name == "elastic":
            for own, number in _mapping(where, amount, "{'min_nodes': 2}").items():
                if own != "min_nodes":
                    raise ValueError(f"job: {where}: unknown key {own!r}{_nearest(own, ('min_nodes',))}; the key is min_nodes")
                _number(config, own, number, f"{where}.{own}")
        else:
            known = ("cpus", "cpu_millis", "memory", "gpus", "gpu_share", "gpu_memory", "disk", "named", "nodes", "elastic", "processes")
            raise ValueError(f"job: {key}: unknown key {name!r}{_nearest(name, known)}; the keys are {', '.join(known)}")


_SECONDS = {"w": 7 * 24 * 3600, "d": 24 * 3600, "h": 3600, "m": 60, "s": 1}


def _seconds(where: str, value: Any) -> int:
    if isinstance(value, timedelta):
        return round(value.total_seconds())
    if isinstance(value, str):
        if value.isdigit():
            return int(value)
        if re.fullmatch(r"([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?", value) and value:
            return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([wdhms])", value))
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"job: {where}: expected seconds as a whole number, a text such as '90s' or '1h30m', or a timedelta, "
                     f"found {value!r}")


def _moment(where: str, value: Any) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
        except ValueError:
            pass
    if isinstance(value, datetime) and value.tzinfo is not None:
        return round(value.timestamp())
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"job: {where}: expected '2026-12-24T18:00:00Z', a datetime with a time zone, or Unix seconds, "
                     f"found {value!r}")


def _limits(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    readers = {"run": ("run_seconds", _seconds), "queue": ("queue_seconds", _seconds), "deadline": ("deadline", _moment),
               "log": ("log_bytes", _bytes), "checkpoint": ("checkpoint_bytes", _bytes)}
    aliases = {field: name for name, (field, _) in readers.items()}
    limits = _canonical(f"job: {key}", _mapping(key, value, "{'run': '2h'}"), aliases)
    for name, limit in limits.items():
        if name not in readers:
            raise ValueError(f"job: {key}: unknown key {name!r}{_nearest(name, readers)}; the keys are {', '.join(readers)}")
        field, read = readers[name]
        _number(config.limits, field, read(f"{key}.{name}", limit), f"{key}.{name}")


def _after(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    conditions = {"success": job_pb2.AFTER_SUCCESS, "end": job_pb2.AFTER_ANY_END}
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(one, Mapping):
            one = _canonical(f"job: {key}", one, {"job_id": "job"})
            unknown = [name for name in one if name not in ("job", "condition")]
            if unknown:
                raise ValueError(f"job: {key}: unknown key {unknown[0]!r}; the keys are job, condition")
            condition = one.get("condition", "success")
            one = one.get("job")
        else:
            condition = "success"
        job_id = getattr(one, "job_id", one)  # a Submission or a JobStatus stands for its job
        if not isinstance(job_id, str) or condition not in conditions:
            raise ValueError(f"job: {key}: expected a job's id or {{'job': id, 'condition': 'success' or 'end'}}, "
                             f"found {one!r} with condition {condition!r}")
        config.after.add(job_id=job_id, condition=conditions[condition])


def _labels(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    for name, label in _mapping(key, value, "{'zone': 'west'}").items():
        if not isinstance(name, str) or not isinstance(label, str):
            raise ValueError(f"job: {key}: expected texts, found {name!r}: {label!r}")
        config.node_labels[name] = label


def _pool(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"job: {key}: expected the name of a pool, found {value!r}")
    if config.node_labels.get("pool", value) != value:
        raise ValueError(f"job: {key}: differs from node_labels['pool']: leave one out")
    config.node_labels["pool"] = value


def _array(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        value = {"size": value}
    unknown = [name for name in value if name not in ("size", "max_parallel")]
    if unknown:
        raise ValueError(f"job: {key}: unknown key {unknown[0]!r}; the keys are size, max_parallel")
    for name, number in value.items():
        _number(config.array, name, number, f"{key}.{name}")


def _sweep(config: job_pb2.JobConfig, key: str, value: Any) -> None:
    def text(name: Any, one: Any) -> str:
        if not isinstance(name, str) or not isinstance(one, (str, bool, int, float)):
            raise ValueError(f"job: {key}: expected texts, numbers or truth values, found {name!r}: {one!r}")
        return str(one).lower() if isinstance(one, bool) else str(one)

    if isinstance(value, Mapping) and value:
        for name in sorted(value):
            if not isinstance(value[name], (list, tuple)):
                raise ValueError(f"job: {key}: expected a list of values for {name!r}, found {value[name]!r}")
            config.array.grid.add(name=name, values=[text(name, one) for one in value[name]])
    elif isinstance(value, (list, tuple)) and value:
        for point in value:
            point = _mapping(key, point, "{'learning_rate': 0.1}")
            config.array.points.add(hyperparameters={name: text(name, one) for name, one in point.items()})
    else:
        raise ValueError(f"job: {key}: expected lists of values by name, or a list of members, found {value!r}")


_ENUMS = {
    "type": ("job_type", job_pb2.JobType, "JOB_TYPE_"),
    "priority": ("priority", job_pb2.JobPriority, "PRIORITY_"),
    "device": ("required_device", common_pb2.DeviceType, "DEVICE_"),
}
# Fields of the wire that job files call otherwise; both names are accepted.
_FIELDS = {"dataset": "dataset_uri", "user": "user_id", "type": "job_type", "model": "model_definition",
           "device": "required_device", "retries": "max_retries"}
_ALIASES = {wire: name for name, wire in _FIELDS.items()}
_SETTERS = {
    "name": _text,
    "type": _enum,
    "priority": _enum,
    "model": _model,
    "hyperparameters": _hyperparameters,
    "dataset": _dataset,
    "batch_size": _number,
    "epochs": _number,
    "device": _enum,
    "estimated_memory": _memory,
    "resources": _resources,
    "retries": _number,
    "job_id": _text,
    "user": _text,
    "project": _text,
    "limits": _limits,
    "after": _after,
    "node_labels": _labels,
    "pool": _pool,
    "anti_affinity": _text,
    "array": _array,
    "sweep": _sweep,
    "model_from": _model_from,
    "output": _text,
    "output_dataset": _text,
}
