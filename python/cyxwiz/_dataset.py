"""Files of this machine as those of a data set."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Iterator, List, Tuple

from cyxwiz.protocol import dataset_pb2, deployment_pb2

_PIECE = 1 << 20


def find_files(path: "os.PathLike[str]") -> Tuple[Path, List[str]]:
    """The folder of the files, and their paths in it: a file alone, or all below a folder that is not hidden."""
    root = Path(path)
    if root.is_file():
        return root.parent, [root.name]
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is neither a file nor a folder")
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise ValueError(f"{os.path.join(folder, name)} is a link to a folder, which is not followed")
        for name in sorted(files):
            if name.startswith("."):
                continue
            file = Path(folder, name)
            if not file.is_file():
                raise ValueError(f"{file} is neither a file nor a folder")
            found.append(file.relative_to(root).as_posix())
    return root, found


def describe(folder: Path, path: str) -> dataset_pb2.DatasetFile:
    """The file as the server is told of it."""
    digest, size = hashlib.sha256(), 0
    with (folder / path).open("rb") as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            digest.update(piece)
            size += len(piece)
    return dataset_pb2.DatasetFile(path=path, sha256=digest.hexdigest(), size=size)


def chunks(folder: Path, file: dataset_pb2.DatasetFile) -> Iterator[deployment_pb2.ModelChunk]:
    """The file in pieces, for ModelService.UploadModel, which refuses it when it is not what was described."""
    sent = 0
    with (folder / file.path).open("rb") as source:
        while True:
            data = source.read(min(_PIECE, file.size - sent))
            chunk = deployment_pb2.ModelChunk(data=data, offset=sent, total_size=file.size)
            if sent == 0:
                chunk.model_id, chunk.dataset = f"sha256:{file.sha256}", True
            sent += len(data)
            if sent == file.size or not data:
                chunk.is_final, chunk.checksum = True, file.sha256
            yield chunk
            if chunk.is_final:
                return
