#!/usr/bin/env python3
"""Checks that each folder of src/ uses only the folders below it.

    check_layers.py SOURCE_ROOT

Looks at the #include lines of every source and at the targets that each CMakeLists.txt names. Prints one line for
each offence, as FILE:LINE, and exits with 1 when there is one.
"""

import pathlib
import re
import sys

# Folder -> the folders it may use, from the ground up: a folder uses only those listed above it, so there is no cycle.
# An entry with a slash allows one header alone. A test may use everything above its own folder.
ALLOWED = {
    "base": [],
    "spec": ["base"],
    "data": ["base", "spec"],
    "export": ["base", "spec"],
    "runner": ["base", "spec", "data", "export"],
    "scheduler": ["base", "spec"],
    "control": ["base", "spec", "scheduler"],
    "store": ["base", "control/records.h", "control/archive.h"],
    "history": ["base", "scheduler", "control"],
    "artifacts": ["base"],
    "fetch": ["base", "spec", "artifacts"],
    "security": ["base"],
    "wire": ["base", "spec"],
    "central": ["base", "spec", "data", "scheduler", "control", "store", "history", "artifacts", "security", "wire"],
    "node": ["base", "spec", "security", "artifacts", "fetch", "wire"],
    "cli": ["base", "spec", "wire", "export"],
}

# What is not ours, and the folders that may see it.
LIBRARIES = {
    r"(torch|ATen|c10)/": ["runner"],
    r"(grpcpp|grpc|google/protobuf)/": ["wire", "central", "node", "cli"],
    r"(SQLiteCpp/|sqlite3\.h)": ["store"],
    r"curl/": ["fetch"],
    r"boost/": ["wire", "central", "node", "cli"],  # wire: for the precompiled header alone
    # The control core and the scheduler are pure: no threads, files, randomness or sockets.
    r"(thread|mutex|shared_mutex|condition_variable|future|fstream|filesystem|random|unistd\.h|sys/.*)$": [
        folder for folder in ALLOWED if folder not in ("control", "scheduler")
    ],
}

QUOTED = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
ANGLED = re.compile(r"^\s*#\s*include\s+<([^>]+)>")
TEST_TARGET = re.compile(r"\bcyxwiz_test\([^)]*\)")
TARGET = re.compile(r"\bcyxwiz_(\w+)\b")


def may_use(folder, header, is_test):
    """Whether a source of `folder` may include `header` ("control/records.h")."""
    used = header.split("/")[0]
    if is_test:
        order = list(ALLOWED)
        return order.index(used) <= order.index(folder)
    return used == folder or used in ALLOWED[folder] or header in ALLOWED[folder]


def check_source(folder, path, text):
    is_test = path.stem.endswith("_test")
    for number, line in enumerate(text.splitlines(), 1):
        quoted = QUOTED.match(line)
        if quoted:
            header = quoted.group(1)
            if header.startswith("cyxwiz/protocol/"):
                header = "wire/" + header
            used = header.split("/")[0]
            if "/" not in header:
                yield number, f'"{header}" must be included as "{folder}/{header}"'
            elif used in ALLOWED and not may_use(folder, header, is_test):
                yield number, f'{folder} must not use "{header}": it may use {", ".join(ALLOWED[folder]) or "nothing"}'
        angled = ANGLED.match(line)
        if angled:
            for pattern, folders in LIBRARIES.items():
                # Tests may start threads and write files wherever they stand.
                if re.match(pattern, angled.group(1)) and folder not in folders and not is_test:
                    yield number, f"{folder} must not include <{angled.group(1)}>"


def check_cmake(folder, text):
    text = TEST_TARGET.sub(lambda test: "\n" * test.group().count("\n"), text)
    for number, line in enumerate(text.splitlines(), 1):
        for used in TARGET.findall(line.split("#")[0]):
            if used in ALLOWED and used != folder and used not in {a.split("/")[0] for a in ALLOWED[folder]}:
                yield number, f"{folder} must not link cyxwiz_{used}"


def main(root):
    seen = set()
    for folder, allowed in ALLOWED.items():
        for used in allowed:
            assert used.split("/")[0] in seen, f"the table is not in order: {folder} uses {used}"
        seen.add(folder)

    offences = []
    folders = sorted(path.name for path in (root / "src").iterdir() if path.is_dir())
    for folder in folders:
        if folder not in ALLOWED:
            offences.append(f"src/{folder}: not in the table of {pathlib.Path(__file__).name}")
            continue
        for path in sorted((root / "src" / folder).rglob("*")):
            if path.suffix in (".cc", ".h"):
                found = check_source(folder, path, path.read_text(encoding="utf-8"))
            elif path.name == "CMakeLists.txt":
                found = check_cmake(folder, path.read_text(encoding="utf-8"))
            else:
                continue
            offences += [f"{path.relative_to(root)}:{number}: {what}" for number, what in found]
    for offence in offences:
        print(offence)
    print(f"{len(folders)} folders, {len(offences)} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__)
        sys.exit(2)
    sys.exit(main(pathlib.Path(sys.argv[1])))
