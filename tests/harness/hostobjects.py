#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""hostobjects.py - what outlives its users: System V segments, POSIX message queues, tun devices,
names of sockets and files; and what may be somebody else's by now: the numbers of tasks.

Alone:   sudo /usr/bin/python3 tests/harness/hostobjects.py [--stasis PATH] [test...]

Between dump and restore the host's objects are removed, or used by somebody else; a restore is
killed at every step, and fails late: names in the file system are then what they were before. The
cases shm_sysv and mqueues look whether all is as it was.
The last line is "N passed, N failed, N skipped".
"""
import contextlib
import ctypes
import functools
import os
import subprocess
import sys

import cr
import tool

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
IPC_RMID = 0
UNUSED = 9		# a byte of the segment that the case does not look at


def begin(directory, name):
    """A case that is ready. Returns its pid."""
    program = tool.build(f"cr/{name}", [f"cr/{name}.c", "case.c", "case.h"])
    pid = tool.start([program, directory], directory)
    if not tool.wait_for(lambda: cr.has(directory, "ready") or cr.has(directory, "result"), 20):
        raise tool.Failure("the case does not get ready")
    if cr.has(directory, "result"):
        cr.result(directory)
    return pid


def start(plan, directory, name, options=()):
    """A case, dumped. Returns its pid and the directory of the images."""
    pid = begin(directory, name)
    images = os.path.join(directory, "images")
    os.mkdir(images)
    plan.dumper.dump(pid, images, list(options))
    return pid, images


def segments():
    """id -> key of all segments of the host that the case may have made."""
    with open("/proc/sysvipc/shm") as text:
        rows = [line.split() for line in text.readlines()[1:]]
    return {int(row[1]): int(row[0]) for row in rows if int(row[3]) in (5 * 4096 + 100, 8 * 4096,
                                                                        3 * 4096)}


def queues(pid):
    """The names of the case's queues that exist."""
    found = []
    for number in range(3):
        name = f"/stasis.case.{pid}.{number}".encode()
        queue = LIBC.mq_open(name, os.O_RDONLY)
        if queue >= 0:
            os.close(queue)
            found.append(name)
    return found


def remove_all(before, pid):
    for number in segments():
        if number not in before:
            LIBC.shmctl(number, IPC_RMID, None)
    for name in queues(pid):
        LIBC.mq_unlink(name)
    if os.path.exists(f"/sys/class/net/stla{pid}"):
        subprocess.run(["ip", "link", "del", f"stla{pid}"], check=True)


def test_removed(plan, directory, name):
    """Gone objects are made again, under their ids, keys and names."""
    before = segments()
    pid, images = start(plan, directory, name)
    remove_all(before, pid)
    plan.restorer.restore(pid, images, [])
    cr.finish(pid, directory)


@contextlib.contextmanager
def attached(number):
    address = LIBC.shmat(number, None, 0)
    if address == ctypes.c_void_p(-1).value:
        raise tool.Failure("cannot attach the segment")
    yield (ctypes.c_ubyte * 4096).from_address(address)
    LIBC.shmdt(ctypes.c_void_p(address))


def named_segment(before):
    return [number for number, key in segments().items() if number not in before and key][0]


def test_used(plan, directory):
    """A segment that somebody else has attached keeps its contents."""
    before = segments()
    pid, images = start(plan, directory, "shm_sysv")
    with attached(named_segment(before)) as memory:
        memory[UNUSED] = 77
        plan.restorer.restore(pid, images, [])
        if memory[UNUSED] != 77:
            raise tool.Failure("the restore wrote to a segment in use")
    # the case counts attaches, so it looks when this one is gone
    cr.finish(pid, directory)


def test_unused(plan, directory):
    """A segment that nobody has attached gets the contents of the dump."""
    before = segments()
    pid, images = start(plan, directory, "shm_sysv")
    with attached(named_segment(before)) as memory:
        memory[UNUSED] = 77
    plan.restorer.restore(pid, images, [])
    with attached(named_segment(before)) as memory:
        if memory[UNUSED]:
            raise tool.Failure("the segment has not the contents of the dump")
    cr.finish(pid, directory)


def test_taken(plan, directory):
    """Another segment under the id is a clear refusal, and stays."""
    before = segments()
    pid, images = start(plan, directory, "shm_sysv")
    number = named_segment(before)
    remove_all(before, pid)
    with open("/proc/sys/kernel/shm_next_id", "w") as text:
        text.write(str(number))
    other = LIBC.shmget(0, 4096, 0o600)
    try:
        status = plan.restorer.run("restore", images, "restore.log", ["-d"])
        if status != 1 or f"segment {number} " not in tool.first_error(images, "restore", status):
            raise tool.Failure(f"status {status}: {tool.first_error(images, 'restore', status)}")
        if [n for n in segments() if n not in before]:
            raise tool.Failure("the failed restore left segments")
    finally:
        LIBC.shmctl(other, IPC_RMID, None)


def killed_restore(plan, images, variable, step, options=()):
    """A restore that is killed there. Its exit status."""
    with tool.environment(**{variable: step}):
        return plan.restorer.run("restore", images, "restore.log", ["-d", *options])


def nothing_left(before, pid):
    return (not [n for n in segments() if n not in before] and not queues(pid) and
            not os.path.exists(f"/sys/class/net/stla{pid}"))


def test_killed(plan, directory, name):
    """A restore that does not end well leaves nothing, whoever is killed when; the last one leaves a good task."""
    for variable in ("STASIS_KILL_WORKER_AT", "STASIS_KILL_AT"):
        own = plan.new_directory(variable, directory)
        before = segments()
        pid, images = start(plan, own, name)
        remove_all(before, pid)
        for step in range(1, 200):
            if (not killed_restore(plan, images, variable, step) or
                    not tool.wait_for(lambda: not tool.alive(pid), 3)):
                break
            if not tool.wait_for(lambda: nothing_left(before, pid), 10):
                raise tool.Failure(f"{variable}={step} left {segments()} {queues(pid)}")
        if step < 10:
            raise tool.Failure(f"{variable}: only {step - 1} steps were tried")
        cr.finish(pid, own)
        tool.kill_tree(pid)
        remove_all(before, pid)


@contextlib.contextmanager
def task_numbered(number):
    """A task of ours with that number, which is free."""
    for _ in range(100):
        with open("/proc/sys/kernel/ns_last_pid", "w") as text:
            text.write(str(number - 1))
        with subprocess.Popen(["/bin/sleep", "1000"]) as task:
            try:
                if task.pid == number:
                    yield
                    return
            finally:
                task.kill()
    raise tool.Failure(f"no task gets the number {number}")


def test_number(plan, directory):
    """Open files of /proc of a dead task are not taken for those of the task that has its number now."""
    pid = begin(directory, "proc_dead")
    links = [os.readlink(f"/proc/{pid}/fd/{fd}").split("/") for fd in os.listdir(f"/proc/{pid}/fd")]
    gone = int([words[2] for words in links if words[1:2] == ["proc"] and words[-1] == "stat"][0])
    images = os.path.join(directory, "images")
    os.mkdir(images)
    with task_numbered(gone):
        plan.dumper.dump(pid, images, [])
        status = plan.restorer.run("restore", images, "restore.log", ["-d"])
        words = tool.first_error(images, "restore", status)
        if status != 1 or f"make a task {gone}" not in words:
            raise tool.Failure(f"status {status}: {words}")
    tool.reap()
    plan.restorer.restore(pid, images, [])
    cr.finish(pid, directory)


def names_in(directory):
    """All that is in the case's directory, but what the harness has there."""
    found = set()
    for path, directories, files in os.walk(directory):
        if path == directory:
            directories.remove("images")
        for name in directories + files:
            whole = os.path.join(path, name)
            with contextlib.suppress(FileNotFoundError):	# a keeper is at work
                st = os.lstat(whole)
                links = 0 if name in directories else st.st_nlink
                found.add((os.path.relpath(whole, directory), st.st_ino, st.st_mode, st.st_uid, links))
    return found


def must_be(directory, before, when):
    if not tool.wait_for(lambda: names_in(directory) == before, 10):
        raise tool.Failure(f"{when}: names changed: {sorted(names_in(directory) ^ before)}")


@contextlib.contextmanager
def damaged(path):
    """The last part of an image is missing."""
    with open(path, "rb") as image:
        whole = image.read()
    os.truncate(path, len(whole) // 2)
    yield
    with open(path, "wb") as image:
        image.write(whole)


def fail_late(plan, directory, pid, images, options):
    """Restores that fail by themselves, early and late."""
    before = names_in(directory)
    script = os.path.join(images, "script")
    with open(script, "w") as text:
        text.write('#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-restore ]\n')
    os.chmod(script, 0o755)
    ways = [(task_numbered(pid), []), (damaged(os.path.join(images, "pages-1.img")), []),
            (contextlib.nullcontext(), ["--action-script", script]),
            (contextlib.nullcontext(), ["--pidfile", script])]
    for number, (trouble, more) in enumerate(ways):
        with trouble:
            if plan.restorer.run("restore", images, "restore.log", ["-d", *options, *more]) != 1:
                raise tool.Failure(f"restore {number} does not fail as it should")
            must_be(directory, before, f"failed restore {number}")


def kill_each_step(plan, directory, pid, images, options, variable):
    """Ends with a restore that nobody disturbs."""
    before = names_in(directory)
    for step in range(1, 200):
        if (not killed_restore(plan, images, variable, step, options) or
                not tool.wait_for(lambda: not tool.alive(pid), 3)):
            break
        must_be(directory, before, f"{variable}={step}")
    if step < 5:
        raise tool.Failure(f"{variable}: only {step - 1} steps were tried")
    if not tool.alive(pid):
        raise tool.Failure(f"{variable}={step}: the restore ends well without a task")


def test_left(plan, directory, name):
    """A restore that does not end well leaves the names that there were, and can be repeated."""
    options = LEFT_OPTIONS.get(name, [])
    for variable in ("STASIS_KILL_WORKER_AT", "STASIS_KILL_AT"):
        own = plan.new_directory(variable, directory)
        pid, images = start(plan, own, name, options)
        fail_late(plan, own, pid, images, options)
        kill_each_step(plan, own, pid, images, options, variable)
        cr.finish(pid, own)
        tool.kill_tree(pid)


LEFT_OPTIONS = {"files_linked": ["--link-remap"], "files_odd": ["--file-locks"]}
LEFT = ["unix_names", "unix_dgrams", "files_linked", "files_gone", "files_deleted", "files_odd", "pipes"]
HOST = ["shm_sysv", "mqueues", "tun"]

TESTS = {"used": test_used, "unused": test_unused, "taken": test_taken, "number": test_number}
for word, test, cases in (("removed", test_removed, HOST), ("killed", test_killed, HOST),
                          ("left", test_left, LEFT)):
    TESTS |= {f"{word}-{case}": functools.partial(test, name=case) for case in cases}


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, TESTS))
