"""Misdeeds in what a worker says: lies, frames out of order, silence, a death. Standard library only."""

import os
import select
import time

from hostile_wire import PNG, frame, receive, send, tell, write


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
