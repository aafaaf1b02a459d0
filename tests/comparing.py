"""What tests share that compare this kernel with a real ipykernel: its kernelspec, and what cells send without the noise."""

from __future__ import annotations

import json
import re
from typing import Any

from harness import PYTHON, Place, Run

IPYKERNEL = "ipykernel"
# What differs from run to run: identifiers, times, rates, and the names of cells' files.
_NOISE = (
    (re.compile(r"\x1b\[[0-9;]*[mA]"), ""),
    (re.compile(r"IPY_MODEL_[0-9a-f]{32}|\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b"), "ID"),
    (re.compile(r"\[[^\]]*\d\d:\d\d[^\]]*\] *"), "[TIME]"),
    (re.compile(r"\r +\r"), "\r"),
    (re.compile(r"-?\d+:\d\d:\d\d|\d+\.\d+ ?s\b|\?it/s|\d+\.\d+it/s"), "TIME"),
    (re.compile(r"0x[0-9a-f]+"), "0xADDRESS"),
    (re.compile(r"[0-9a-f-]{20,}_\d+_\d+"), "MESSAGE"),
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py|<ipython-input[^>]*>|<?Cell In\[\d+\][^>\s,]*>?|Cell In ?\[\d+\]"), "CELL"),
)


def add_ipykernel(place: Place) -> None:
    """Put the kernelspec of the real ipykernel, in this environment, beside ours."""
    folder = place.folder / "share/jupyter/kernels" / IPYKERNEL
    folder.mkdir(exist_ok=True)
    argv = [PYTHON, "-Wignore", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": IPYKERNEL, "language": "python", "interrupt_mode": "message"}
    (folder / "kernel.json").write_text(json.dumps(spec), "utf-8")


def sent(run: Run) -> list[Any]:
    """What a request sent, in order, without what differs from run to run.

    Text that comes between other messages counts as one for each stream: ipykernel sends its two streams each in its own time.
    """
    found: list[Any] = []
    texts: dict[str, str] = {}
    for message in run.messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            texts[content["name"]] = texts.get(content["name"], "") + content["text"]
            continue
        found += sorted(texts.items())
        texts = {}
        if kind.startswith("comm_"):
            found.append((kind, json.dumps(content, sort_keys=True), [bytes(buffer) for buffer in message["buffers"]]))
        elif kind == "error":
            found.append((kind, content["ename"], content["evalue"]))
        elif kind != "execute_input":
            found.append((kind, json.dumps({key: content[key] for key in sorted(content) if key != "execution_count"})))
    return [tuple(_without_noise(part) for part in entry) for entry in [*found, *sorted(texts.items())]]


def _without_noise(part: Any) -> Any:
    for pattern, word in _NOISE if isinstance(part, str) else ():
        part = pattern.sub(word, part)
    return part
