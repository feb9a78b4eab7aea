"""Misdeeds against the machine: bombs, hogs, and doors tried. Standard library only."""

# ruff: noqa: PTH101, PTH123, PTH208

import ctypes
import errno
import json
import os
import socket
import time

from hostile_wire import tell


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
