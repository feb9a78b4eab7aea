"""Misdeeds in the states behind a trace, and workers that are lost in the middle of one. Standard library only."""

import os
import signal
import time

from hostile_wire import leaf, receive, send, state


def finish(run):
    run.chunk()
    run.end()
    run.done()


def stateless(run):
    run.accept()
    run.step(0, state=False)


def half_state(run):
    run.accept()
    run.state(0, state(0)[:4], total=8)
    run.step(0, state=False)


def wrong_state(run):
    run.accept()
    run.state(0, b"not this")
    run.step(0, state=False)


def odd_state(run):
    run.accept()
    run.state(0, b"seven b")


def endless_state(run):
    run.accept()
    run.state(0, total=16)
    run.state(0, offset=8, total=16)
    while True:
        run.state(0, offset=16, total=16)


def swelling_state(run):
    run.accept()
    run.state(0, total=16)
    run.state(0, offset=8, total=24)


def huge_state(run):
    run.accept()
    run.state(0, total=16 * 1024 * 1024)


def gap_in_state(run):
    run.accept()
    run.state(0, total=24)
    run.state(0, offset=16, total=24)


def skipped_state(run):
    run.accept()
    run.step(0)
    run.state(2)


def late_state(run):
    run.accept()
    run.all_steps()
    run.state(run.steps + 1)


def state_in_picture(run):
    run.accept()
    run.all_steps(run.steps - 1)
    run.state(run.steps)
    send("step", run.attempt, 0, run.steps, leaf(run.steps))
    run.chunk(run.prompt.encode()[:8])
    run.state(run.steps)


def strange_state(run):
    run.accept()
    run.state(0, attempt=b"x" * 16)


def uninvited_state(run):
    run.accept()
    run.state(0)


# --- lost ------------------------------------------------------------------------------------------------------------


def lost(run, how):
    """Honest, if it is given the state that it told before; lost after two steps otherwise."""
    run.accept()
    if run.done_before:
        if run.given != state(run.done_before):
            run.fail(f"state {run.done_before} is {run.given!r}")
            return
        run.all_steps()
        finish(run)
        return
    run.all_steps(2)
    if run.traced:
        run.state(3, state(3)[:4], total=8)
    how()


def killed_once(run):
    lost(run, lambda: os.kill(os.getpid(), signal.SIGKILL))


def hung_once(run):
    lost(run, lambda: time.sleep(600))


def killed_always(run):
    run.accept()
    run.all_steps(run.done_before + 1)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_the_end(run):
    """All steps are done and half of the picture is out."""
    run.accept()
    run.all_steps()
    if run.done_before < run.steps:
        run.chunk(b"\x89PNG")
        os.kill(os.getpid(), signal.SIGKILL)
    finish(run)


def killed_after_all(run):
    """Nothing was left but to say so."""
    run.accept()
    run.all_steps()
    run.chunk()
    run.end()
    os.kill(os.getpid(), signal.SIGKILL)


def refuses_to_go_on(run):
    """As a worker whose model can't be taken up again: the whole of it is done anew."""
    run.accept()
    if run.done_before:
        send("failed", run.attempt, 1, "this model can't go on")
    elif os.path.exists(f"/tmp/again-{run.attempt.hex()}"):  # noqa: PTH110
        os.unlink(f"/tmp/again-{run.attempt.hex()}")  # noqa: PTH108
        run.all_steps()
        finish(run)
    else:
        open(f"/tmp/again-{run.attempt.hex()}", "w").close()  # noqa: PTH123
        run.all_steps(1)
        os.kill(os.getpid(), signal.SIGKILL)


def stretch(run):
    """As an honest worker, to the step that it is to go to."""
    run.accept()
    if run.done_before and run.given != state(run.done_before):
        run.fail(f"state {run.done_before} is {run.given!r}")
        return
    run.all_steps(run.last)
    if run.last == run.steps:
        finish(run)
    else:
        run.done()


def short_stretch(run):
    run.accept()
    run.all_steps(run.last - 1)
    run.done()


def long_stretch(run):
    run.accept()
    run.all_steps(run.last + 1)


def stretch_with_picture(run):
    run.accept()
    run.all_steps(run.last)
    run.chunk()


def waits_after_two(run):
    """Ends where it is told to."""
    run.accept()
    run.all_steps(2)
    while receive()[0] != "cancel":
        pass
    send("failed", run.attempt, 5, "cancelled after step 2")


def killed_after_four(run):
    """Goes on after three steps, and after four it is another's to go on."""
    run.accept()
    if run.given != state(run.done_before):
        run.fail(f"state {run.done_before} is {run.given!r}")
    elif run.done_before == 3:
        run.step(4)
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        run.all_steps()
        finish(run)
