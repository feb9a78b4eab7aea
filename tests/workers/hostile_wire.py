"""The worker protocol written down a second time, by hand, so that a hostile worker can say what ours would not.

Standard library only: it is copied into a container image beside hostile.py. Knows protobuf just well enough.
"""

# ruff: noqa: B008

import hashlib
import os
import sys

KINDS = {"hello": 1, "load": 2, "run": 3, "cancel": 4, "stop": 5, "credit": 6, "ready": 16, "loaded": 17,
         "accepting": 19, "step": 20, "preview": 21, "chunk": 22, "end": 23, "done": 24, "failed": 25, "input": 7,
         "replay": 8, "measure": 9, "state": 26, "replayed": 27, "measured": 28}  # fmt: skip
NAMES = {number: name for name, number in KINDS.items()}
PNG = b"\x89PNG\r\n\x1a\n" + b"not a real picture, and nobody here looks closer"


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def message(*values):
    """Fields 1, 2, 3, …: an int is a varint, bytes and str are length-delimited, None is left out."""
    out = b""
    for number, value in enumerate(values, 1):
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        elif value is not None:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def frame(kind, *values):
    body = message(*values)
    payload = varint(KINDS.get(kind, 99) << 3 | 2) + varint(len(body)) + body
    return len(payload).to_bytes(4, "big") + payload


def parse(data):
    """Field number -> last value, of one message."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            found[tag >> 3] = number()
        else:
            size = number()
            found[tag >> 3] = data[at : at + size]
            at += size
    return found


def read_exactly(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def receive():
    """The next frame that is no credit, as (name, fields); its bytes are given back at once."""
    while True:
        size = int.from_bytes(read_exactly(4), "big")
        ((kind, body),) = parse(read_exactly(size)).items()
        if NAMES[kind] != "credit":
            send("credit", size + 4)
            return NAMES[kind], parse(body)


def write(data, where=1):
    while data:
        data = data[os.write(where, data) :]


def send(kind, *values):
    write(frame(kind, *values))


def tell(text):
    """To stderr; frames come by another way, so give it a moment's start."""
    import time

    write((text + "\n").encode(), 2)
    time.sleep(0.3)


def state(step):
    return b"state%3d" % step


def leaf(step):
    return hashlib.sha256(b"\0" + step.to_bytes(4, "big") + state(step)).digest()


def root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


class Run:
    """What the node asked for. `given` are the bytes of its last input."""

    def __init__(self, fields, given=b""):
        self.attempt = fields[1]
        self.prompt = fields.get(4, b"").decode()
        self.steps = fields.get(7, 0)
        self.done_before = fields.get(19, 0)
        self.traced = fields.get(20, 0)
        self.last = min(fields.get(21, 0) or self.steps, self.steps)
        self.given = given

    def accept(self):
        send("accepting", self.attempt)

    def state(self, step, data=None, offset=0, total=None, attempt=None):
        data = state(step) if data is None else data
        send("state", attempt or self.attempt, 0, step, offset, len(data) if total is None else total, data)

    def step(self, step, picture=0, state=True):
        if self.traced and state:
            self.state(step)
        send("step", self.attempt, picture, step, leaf(step))

    def all_steps(self, last=None):
        """From the first that is due, to the last."""
        first = self.done_before + 1 if self.done_before else 0
        for step in range(first, (self.steps if last is None else last) + 1):
            self.step(step)

    def chunk(self, data=PNG, offset=0, total=len(PNG), picture=0):
        send("chunk", self.attempt, picture, offset, total, data)

    def end(self, sha256=None, length=len(PNG), tree=None, count=None):
        leaves = [leaf(step) for step in range(self.done_before, self.steps + 1)]
        digest = hashlib.sha256(PNG).digest() if sha256 is None else sha256
        send("end", self.attempt, 0, digest, length, root(leaves) if tree is None else tree,
             len(leaves) if count is None else count)  # fmt: skip

    def done(self):
        send("done", self.attempt)

    def fail(self, text):
        send("failed", self.attempt, 6, text)


def greet(nonce=None, version=2, kind="cpu"):
    name, fields = receive()
    if name != "hello":
        sys.exit(9)
    profile = message("3.11", "none", "none", "none", "hostile", kind, "hostile", "none")
    send("ready", version, fields[2] if nonce is None else nonce, profile, 1)
