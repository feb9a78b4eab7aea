"""A worker that does whatever a run's prompt says: "honest", or one of the misdeeds below. Run alone, never imported.

A first argument makes it misbehave from the start instead. Standard library only.
"""

# ruff: noqa: PTH101, PTH123, PTH208

import ctypes
import errno
import json
import os
import select
import signal
import socket
import sys
import time

from hostile_wire import PNG, Run, frame, greet, receive, send, tell, write

signal.signal(signal.SIGTERM, signal.SIG_IGN)


def honest(run):
    run.accept()
    run.all_steps()
    run.chunk()
    run.end()
    run.done()


# --- lies ------------------------------------------------------------------------------------------------------------


def oversized(run):
    write((40_000).to_bytes(4, "big") + b"\0" * 40_000)


def endless_prefix(run):
    write(b"\xff" * 4)


def garbage(run):
    write(b"\0\0\0\x10" + b"\xff" * 16)


def truncated(run):
    run.accept()
    write(frame("step", run.attempt, 0, 0, b"l" * 32)[:20])
    os._exit(0)


def unknown_kind(run):
    send("nonsense", run.attempt)


def wrong_side(run):
    send("hello", 1, b"n" * 16, 1, "cpu")


def wrong_attempt(run):
    send("accepting", b"x" * 16)


def unaccepted(run):
    run.step(0)


def accepted_twice(run):
    run.accept()
    run.accept()


def skipped_step(run):
    run.accept()
    run.step(0)
    run.step(2)


def repeated_step(run):
    run.accept()
    run.step(0)
    run.step(0)


def one_step_more(run):
    run.accept()
    run.all_steps()
    run.step(run.steps + 1)


def other_picture(run):
    run.accept()
    run.step(0, picture=1)


def uninvited_preview(run):
    run.accept()
    run.step(0)
    run.step(1)
    send("preview", run.attempt, 0, 1, PNG)


def early_picture(run):
    run.accept()
    run.step(0)
    run.chunk()


def too_long(run):
    run.accept()
    run.all_steps()
    run.chunk(total=60 * 1024 * 1024)


def gap(run):
    run.accept()
    run.all_steps()
    run.chunk(PNG[:10])
    run.chunk(PNG[11:], offset=11)


def overrun(run):
    run.accept()
    run.all_steps()
    run.chunk(PNG, total=10)


def changed_total(run):
    run.accept()
    run.all_steps()
    run.chunk(PNG[:10])
    run.chunk(PNG[10:], offset=10, total=len(PNG) + 1)


def short_picture(run):
    run.accept()
    run.all_steps()
    run.chunk(PNG[:10])
    run.end()


def no_png(run):
    run.accept()
    run.all_steps()
    run.chunk(b"GIF89a" + PNG[6:])
    run.end()


def wrong_digest(run):
    run.accept()
    run.all_steps()
    run.chunk()
    run.end(sha256=b"d" * 32)


def wrong_root(run):
    run.accept()
    run.all_steps()
    run.chunk()
    run.end(tree=b"r" * 32)


def wrong_count(run):
    run.accept()
    run.all_steps()
    run.chunk()
    run.end(count=run.steps)


def nothing_done(run):
    run.accept()
    run.done()


def forged_credit(run):
    send("credit", 32 * 1024)


def reloaded(run):
    run.accept()
    send("loaded", b"m" * 32, 0, 0)


def flood(run):
    """Every frame is due and in order; only the node's credit is not waited for."""
    run.accept()
    run.all_steps()


def log_flood(run):
    run.accept()
    while True:
        write(b"spam " * 1000, 2)


# --- ends ------------------------------------------------------------------------------------------------------------


def silent(run):
    run.accept()
    while True:
        time.sleep(60)


def disobedient(run):
    """Goes on in spite of a Cancel, at a pace that is never silent."""
    run.accept()
    for step in range(run.steps + 1):
        run.step(step)
        time.sleep(0.1)
    honest_end(run)


def slow(run):
    """Honest, a tenth of a second a step, and it listens for a Cancel."""
    run.accept()
    for step in range(run.steps + 1):
        run.step(step)
        ready, _, _ = select.select([0], [], [], 0.1)
        if ready and receive()[0] == "cancel":
            send("failed", run.attempt, 5, "cancelled")
            return
    honest_end(run)


def honest_end(run):
    run.chunk()
    run.end()
    run.done()


def dies(run):
    run.accept()
    os._exit(7)


def closes(run):
    """Its pipes end, and it doesn't."""
    run.accept()
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    while True:
        time.sleep(60)


def talks_to_log(run):
    run.accept()
    tell("\x1b[31mred\x07 and \x00 more")
    run.fail("told the log \x1b[2J")


# --- the machine -----------------------------------------------------------------------------------------------------


def fork_bomb(run):
    run.accept()
    tell("bomb")
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.02)


def memory_hog(run):
    run.accept()
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(1) * (4 << 20)))


def disk_filler(run):
    run.accept()
    found = {}
    for folder in ("/tmp", "/dev/shm", "/", "/var/tmp", "/run", "/models", "/dev", "/proc/sys/kernel", "/home", "/etc"):
        written, name = 0, f"{folder}/filler"
        try:
            with open(name, "wb", buffering=0) as file:
                while written < 1 << 30:
                    written += file.write(b"\xa5" * (1 << 20))
            error = ""
        except OSError as err:
            error = errno.errorcode[err.errno]
        found[folder] = [written, error]
    tell(json.dumps(found))
    run.fail("as full as it gets")


def network_user(run):
    run.accept()
    found = {}
    kinds = {"tcp": (socket.AF_INET, socket.SOCK_STREAM), "udp6": (socket.AF_INET6, socket.SOCK_DGRAM),
             "netlink": (socket.AF_NETLINK, socket.SOCK_RAW), "packet": (socket.AF_PACKET, socket.SOCK_RAW),
             "vsock": (40, socket.SOCK_STREAM), "raw": (socket.AF_INET, socket.SOCK_RAW)}  # fmt: skip
    for name, (family, kind) in kinds.items():
        try:
            sock = socket.socket(family, kind)
            sock.settimeout(1)
            sock.connect(("1.1.1.1", 80) if family == socket.AF_INET else ("2606:4700:4700::1111", 80))
            found[name] = "through"
        except (OSError, TypeError) as err:
            found[name] = errno.errorcode.get(getattr(err, "errno", 0) or 0, type(err).__name__)
    for path in ("/var/run/docker.sock", "/run/docker.sock"):
        try:
            socket.socket(socket.AF_UNIX).connect(path)
            found[path] = "through"
        except OSError as err:
            found[path] = errno.errorcode[err.errno]
    with open("/proc/net/dev") as file:
        found["interfaces"] = [line.split(":")[0].strip() for line in file if ":" in line]
    tell(json.dumps(found))
    run.fail("nobody answers")


def snoop(run):
    """Looks around, and tries the doors."""
    run.accept()
    with open("/proc/self/status") as file:
        status = dict(line.strip().split(":\t", 1) for line in file if ":\t" in line)
    libc = ctypes.CDLL(None, use_errno=True)

    def door(result):
        return "open" if result == 0 else errno.errorcode[ctypes.get_errno()]

    found = {
        "status": {key: status.get(key) for key in ("Uid", "CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")},
        "environment": dict(os.environ),
        "devices": sorted(os.listdir("/dev")),
        "unshare user": door(libc.unshare(0x10000000)),
        "mount": door(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
        "ptrace": door(libc.ptrace(16, os.getppid(), 0, 0)),
        "chroot": door(libc.chroot(b"/tmp")),
        "setuid": door(libc.setuid(0)),
        "io_uring": door(libc.syscall(425, 1, None)),
        "bpf": door(libc.syscall(321, 0, None, 0)),
        "keyctl": door(libc.syscall(250, 0, 0, 0, 0)),
        "models": sorted(os.listdir("/models")),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
    }  # fmt: skip
    try:
        with open("/tmp/program", "w") as file:
            file.write("#!/bin/sh\n")
        os.chmod("/tmp/program", 0o755)
        os.execv("/tmp/program", ["program"])
    except OSError as err:
        found["run from tmp"] = errno.errorcode[err.errno]
    tell(json.dumps(found))
    run.fail("saw enough")


# --- from the start --------------------------------------------------------------------------------------------------

STARTS = {
    "never_ready": lambda: time.sleep(600),
    "exits": lambda: os._exit(3),
    "no_device": lambda: os._exit(4),
    "wrong_nonce": lambda: greet(nonce=b"x" * 16),
    "other_version": lambda: greet(version=2),
    "claims_gpu": lambda: greet(kind="cuda"),
    "speaks_first": lambda: (send("done", b"a" * 16), greet()),
    "unasked": lambda: (greet(), send("done", b"a" * 16)),
}


def main():
    STARTS.get(sys.argv[1] if len(sys.argv) > 1 else "", greet)()
    while True:
        name, fields = receive()
        if name == "load":
            send("loaded", fields[1], 1, 1)
        elif name == "run":
            run = Run(fields)
            globals()[run.prompt](run)
        elif name == "stop":
            return


if __name__ == "__main__":
    main()
