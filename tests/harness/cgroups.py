#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""cgroups.py - the options about cgroups do what they say.

Alone:   sudo /usr/bin/python3 tests/harness/cgroups.py [--stasis PATH] [test...]
         --stasis PATH/criu shows what CRIU makes of the same tests;
         --criu PATH --mode stasis-criu | criu-stasis: dump with the one, restore with the other

Each test puts a small target into cgroups of the cpu controller (version 1) and of a hierarchy with
a name, dumps it, changes what is there, restores and looks.
The last line is "N passed, N failed, N skipped".
"""
import os
import subprocess
import sys
import time

import tool

NAME = f"stasis-{os.stat('/proc/self/ns/pid').st_ino}"


def write(path, text):
    with open(path, "w") as out:
        out.write(text)


def read(path):
    with open(path) as text:
        return text.read().strip()


def remove(path):
    """Remove cgroups, the lowest first; killed tasks may need a moment to leave."""
    for where, _, _ in list(os.walk(path, topdown=False)):
        def gone(where=where):
            try:
                os.rmdir(where)
            except FileNotFoundError:
                pass
            except OSError:
                return False
            return True
        if not tool.wait_for(gone, 5):
            raise tool.Failure(f"{where} cannot be removed")


class Bench:
    """A target, the hierarchies, and how to freeze and thaw."""

    def __init__(self, plan, directory):
        self.plan = plan
        self.dir = directory
        self.images = os.path.join(directory, "images")
        os.mkdir(self.images)
        self.yard = os.path.join(directory, "yard")
        os.mkdir(self.yard)
        self.cpu = self.mount("cpu", "cpu", "cgroup")
        self.named = self.mount(NAME, f"none,name={NAME}", "cgroup")
        self.pid = tool.start(["/bin/sleep", "1000"], directory)
        tool.wait_for(lambda: read(f"/proc/{self.pid}/comm") == "sleep", 5)

    def mount(self, name, options, kind):
        path = os.path.join(self.yard, name)
        os.mkdir(path)
        argv = ["mount", "-t", kind, "none", path] + (["-o", options] if options else [])
        for _ in range(20):			# one of the same name may be going away
            if subprocess.run(argv, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return path
            time.sleep(0.1)
        raise tool.Skip(f"no hierarchy {name} can be mounted")

    def enter(self, hierarchy, path):
        os.makedirs(os.path.join(hierarchy, path), exist_ok=True)
        write(os.path.join(hierarchy, path, "cgroup.procs"), str(self.pid))

    def dump(self, *options):
        self.plan.dumper.dump(self.pid, self.images, list(options))
        if self.plan.crit:
            tool.decode_all(self.plan.crit, self.images)

    def restore(self, *options):
        self.plan.restorer.restore(self.pid, self.images, list(options))

    def refused(self, words, *options):
        """The restore must fail, in these words when it is ours, and leave no task."""
        tool_used = self.plan.restorer
        if tool_used.run("restore", self.images, "restore.log", ["-d"] + list(options)) == 0:
            raise tool.Failure(f"a restore with {options} worked")
        said = tool.first_error(self.images, "restore", 1)
        if not tool_used.is_criu and words not in said:
            raise tool.Failure(f"refused without saying {words!r}: {said}")
        if tool.alive(self.pid):
            raise tool.Failure("a refused restore left a task behind")

    def expect_in(self, name, path):
        lines = read(f"/proc/{self.pid}/cgroup").split("\n")
        if not [line for line in lines if line.split(":", 1)[1] == f"{name}:{path}"]:
            raise tool.Failure(f"the task is not in {name}:{path} but in {lines}")

    def close(self):
        if tool.alive(self.pid):
            tool.kill_tree(self.pid)
        for hierarchy in (self.cpu, self.named):
            for name in os.listdir(hierarchy):
                if name.startswith(NAME):
                    remove(os.path.join(hierarchy, name))
        subprocess.run(["umount", "-R"] + [os.path.join(self.yard, name)
                                           for name in os.listdir(self.yard)], check=False)


def expect(path, value):
    if not os.path.exists(path):
        raise tool.Failure(f"{path} is not there")
    if read(path) != value:
        raise tool.Failure(f"{path} is {read(path)!r}, not {value!r}")


def expect_gone(*paths):
    for path in paths:
        if os.path.exists(path):
            raise tool.Failure(f"{path} is there")


def start(b):
    """The target in cpu:NAME, with a cgroup below; returns paths of both."""
    b.enter(b.cpu, NAME)
    top = os.path.join(b.cpu, NAME)
    sub = os.path.join(top, "sub")
    os.mkdir(sub)
    write(os.path.join(top, "cpu.shares"), "300")
    write(os.path.join(sub, "cpu.shares"), "200")
    os.chmod(top, 0o750)
    return top, sub


def change(top):
    """What is there before the restore: other values, nothing below."""
    remove(os.path.join(top, "sub"))
    write(os.path.join(top, "cpu.shares"), "1000")
    os.chmod(top, 0o700)


def mode_of(path):
    return os.stat(path).st_mode & 0o7777


def test_soft(b):
    top, sub = start(b)
    b.dump()
    change(top)
    b.restore()
    b.expect_in("cpu", "/" + NAME)
    expect(os.path.join(top, "cpu.shares"), "1000")		# it was there
    expect(os.path.join(sub, "cpu.shares"), "200")		# it was not
    if mode_of(top) != 0o750:
        raise tool.Failure(f"mode {mode_of(top):o}")


def test_none(b):
    top, sub = start(b)
    b.dump()
    change(top)
    b.refused("does not exist", "--manage-cgroups=none")
    os.mkdir(sub)
    b.restore("--manage-cgroups=none")
    b.expect_in("cpu", "/" + NAME)
    expect(os.path.join(top, "cpu.shares"), "1000")
    expect(os.path.join(sub, "cpu.shares"), "1024")
    if mode_of(top) != 0o700:
        raise tool.Failure(f"mode {mode_of(top):o}")


def test_props(b):
    top, sub = start(b)
    b.dump()
    change(top)
    b.refused("does not exist", "--manage-cgroups=props")
    os.mkdir(sub)
    b.restore("--manage-cgroups=props")
    expect(os.path.join(top, "cpu.shares"), "300")
    expect(os.path.join(sub, "cpu.shares"), "200")


def test_full(b):
    top, sub = start(b)
    b.dump()
    change(top)
    b.restore("--manage-cgroups=full")
    b.expect_in("cpu", "/" + NAME)
    expect(os.path.join(top, "cpu.shares"), "300")
    expect(os.path.join(sub, "cpu.shares"), "200")
    if mode_of(top) != 0o750:
        raise tool.Failure(f"mode {mode_of(top):o}")


def test_limits_that_bound_one_another(b):
    """The limit without swap may not be above the one with: both were lowered, both are raised."""
    memory = b.mount("memory", "memory", "cgroup")
    top = os.path.join(memory, NAME)
    limits = [os.path.join(top, name)
              for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")]
    b.enter(memory, NAME)
    try:
        if not os.path.exists(limits[1]):
            raise tool.Skip("no limits for swap")
        for path in limits:
            write(path, "268435456")
        b.dump()
        for path in limits:
            write(path, "134217728")
        if b.plan.restorer.is_criu:
            raise tool.Skip("CRIU writes them in one order")
        b.restore("--manage-cgroups=full")
        for path in limits:
            expect(path, "268435456")
    finally:
        tool.kill_tree(b.pid)
        remove(top)


def test_strict(b):
    top, sub = start(b)
    b.dump("--cgroup-dump-controller", "cpu")
    b.refused("exists already", "--manage-cgroups=strict")
    expect(os.path.join(sub, "cpu.shares"), "200")		# not ours to remove
    remove(top)
    b.restore("--manage-cgroups=strict")
    b.expect_in("cpu", "/" + NAME)
    expect(os.path.join(top, "cpu.shares"), "300")
    expect(os.path.join(sub, "cpu.shares"), "200")


def test_ignore(b):
    top, _ = start(b)
    b.dump()
    remove(top)
    b.restore("--manage-cgroups=ignore")
    b.expect_in("cpu", "/")
    expect_gone(top)


def test_ignored_dump(b):
    """A dump that ignores cgroups has no properties; the task still goes where it was."""
    top, _ = start(b)
    b.dump("--manage-cgroups=ignore")
    if b.plan.restorer.is_criu:
        raise tool.Skip("CRIU makes no directory that has no entry")
    remove(top)
    b.restore()
    b.expect_in("cpu", "/" + NAME)
    expect(os.path.join(top, "cpu.shares"), "1024")


def test_failed_restore_leaves_nothing(b):
    top, _ = start(b)
    b.enter(b.named, NAME + "/deep/deeper")
    b.dump()
    remove(top)
    remove(os.path.join(b.named, NAME))
    write(os.path.join(b.images, "pid"), "taken")
    if b.plan.restorer.is_criu:
        raise tool.Skip("CRIU leaves the directories")
    b.refused("pidfile", "--pidfile", "pid")
    expect_gone(top, os.path.join(b.named, NAME))
    b.restore()
    b.expect_in("name=" + NAME, f"/{NAME}/deep/deeper")


def test_open_files_of_cgroups(b):
    """A task has its own cgroup's directory and a control file open; both are made by the restore."""
    tool.kill_tree(b.pid)
    top = os.path.join(b.cpu, NAME)
    os.mkdir(top)
    directory = os.open(top, os.O_RDONLY)
    with open(os.path.join(top, "cpu.shares")) as shares:
        b.pid = tool.start(["/bin/sleep", "1000"], b.dir, stdin=directory, stdout=shares)
    os.close(directory)
    tool.wait_for(lambda: read(f"/proc/{b.pid}/comm") == "sleep", 5)
    b.enter(b.cpu, NAME)
    b.dump()
    remove(top)
    b.restore()
    for fd, path in ((0, top), (1, os.path.join(top, "cpu.shares"))):
        if os.readlink(f"/proc/{b.pid}/fd/{fd}") != path:
            raise tool.Failure(f"descriptor {fd} is " + os.readlink(f"/proc/{b.pid}/fd/{fd}"))


def test_roots_at_restore(b):
    start(b)
    b.enter(b.named, NAME + "/a/b")
    other = NAME + "-other"
    b.dump("--cgroup-root", f"name={NAME}:/{NAME}")
    remove(os.path.join(b.cpu, NAME))
    remove(os.path.join(b.named, NAME))
    b.restore("--cgroup-root", f"cpu:/{other}/x", "--cgroup-root", f"name={NAME}:/{other}")
    b.expect_in("cpu", f"/{other}/x")
    b.expect_in("name=" + NAME, f"/{other}/a/b")
    expect(os.path.join(b.cpu, other, "x", "sub", "cpu.shares"), "200")
    expect(os.path.join(b.cpu, other, "x", "cpu.shares"), "300")
    expect_gone(os.path.join(b.cpu, NAME), os.path.join(b.named, NAME))


def test_root_at_dump(b):
    """Cgroups above the task's own are recorded from the root that is given."""
    top = os.path.join(b.named, NAME)
    b.enter(b.named, NAME + "/a/b")
    os.chmod(top, 0o711)
    os.mkdir(os.path.join(top, "beside"))
    b.dump("--cgroup-root", f"name={NAME}:/{NAME}")
    remove(top)
    b.restore()
    b.expect_in("name=" + NAME, f"/{NAME}/a/b")
    if mode_of(top) != 0o711 or not os.path.isdir(os.path.join(top, "beside")):
        raise tool.Failure(f"mode {mode_of(top):o}, {os.listdir(top)}")


PROPS = '"cpu":\n - "strategy": "%s"\n - "properties": [ "cpu.cfs_burst_us" ]\n'


def test_merged_properties(b):
    top, _ = start(b)
    write(os.path.join(top, "cpu.cfs_quota_us"), "50000")
    write(os.path.join(top, "cpu.cfs_burst_us"), "20000")
    b.dump("--cgroup-props", PROPS % "merge")
    remove(top)
    b.restore()
    expect(os.path.join(top, "cpu.shares"), "300")
    expect(os.path.join(top, "cpu.cfs_burst_us"), "20000")


def test_replaced_properties(b):
    top, _ = start(b)
    write(os.path.join(b.images, "props"), PROPS % "replace")
    b.dump("--cgroup-props-file", "props")
    remove(top)
    b.restore()
    expect(os.path.join(top, "cpu.shares"), "1024")


def test_bad_properties(b):
    status = b.plan.dumper.run("dump", b.images, "dump.log",
                               ["-t", str(b.pid), "--cgroup-props", '"cpu":\n - "strategie"'])
    said = tool.first_error(b.images, "dump", status)
    if not status or (not b.plan.dumper.is_criu and "line 2" not in said):
        raise tool.Failure(f"status {status}: {said}")
    if not tool.alive(b.pid):
        raise tool.Failure("the target is gone")


def test_only_one_controller(b):
    start(b)
    b.enter(b.named, NAME)
    b.dump("--cgroup-dump-controller", "cpu")
    remove(os.path.join(b.cpu, NAME))
    remove(os.path.join(b.named, NAME))
    b.restore()
    b.expect_in("cpu", "/" + NAME)
    b.expect_in("name=" + NAME, "/")
    expect_gone(os.path.join(b.named, NAME))


def test_yard(b):
    """In a yard with two hierarchies only these two can be had."""
    top, sub = start(b)
    b.enter(b.named, NAME + "/a")
    options = ["--cgroup-yard", "../yard", "--cgroup-dump-controller", "cpu",
               "--cgroup-dump-controller", f"name={NAME}"]
    b.dump(*options)
    remove(top)
    remove(os.path.join(b.named, NAME))
    b.restore(*options)
    b.expect_in("cpu", "/" + NAME)
    b.expect_in("name=" + NAME, f"/{NAME}/a")
    expect(os.path.join(sub, "cpu.shares"), "200")


def test_yard_without_a_hierarchy(b):
    start(b)
    if b.plan.dumper.run("dump", b.images, "dump.log",
                         ["-t", str(b.pid), "--cgroup-yard", b.images]) == 0:
        raise tool.Failure("a dump from an empty yard worked")
    if not tool.alive(b.pid):
        raise tool.Failure("the target is gone")


def test_frozen_cgroup(b):
    """What stops tasks is written too, when they run."""
    two = b.mount("unified", "", "cgroup2")
    frozen = os.path.join(two, NAME, "frozen")
    b.enter(two, NAME)
    os.mkdir(frozen)
    write(os.path.join(frozen, "cgroup.freeze"), "1")
    b.dump()
    remove(os.path.join(two, NAME))
    try:
        b.restore()
        b.expect_in("", "/" + NAME)
        expect(os.path.join(frozen, "cgroup.freeze"), "1")
    finally:
        tool.kill_tree(b.pid)
        remove(os.path.join(two, NAME))


def test_version2_controllers(b):
    """A limit of version 2 is there again, after the subtree_control above that brings its file."""
    two = b.mount("unified", "", "cgroup2")
    if "hugetlb" not in read(os.path.join(two, "cgroup.controllers")).split():
        raise tool.Skip("no hugetlb controller in version 2")
    switched = "hugetlb" not in read(os.path.join(two, "cgroup.subtree_control")).split()
    write(os.path.join(two, "cgroup.subtree_control"), "+hugetlb")
    top = os.path.join(two, NAME)
    limit = os.path.join(top, "task", "hugetlb.2MB.max")
    try:
        os.mkdir(top)
        write(os.path.join(top, "cgroup.subtree_control"), "+hugetlb")
        b.enter(two, NAME + "/task")
        write(limit, "4194304")
        b.dump("--cgroup-root", f":/{NAME}", "--cgroup-props",
               '"hugetlb":\n - "strategy": "merge"\n - "properties": [ "hugetlb.2MB.max" ]\n')
        remove(top)
        b.restore()
        b.expect_in("", f"/{NAME}/task")
        expect(os.path.join(top, "cgroup.subtree_control"), "hugetlb")
        if b.plan.dumper.is_criu:
            raise tool.Skip("CRIU dumps no limits of version 2")
        expect(limit, "4194304")
    finally:
        tool.kill_tree(b.pid)
        remove(top)
        if switched:
            write(os.path.join(two, "cgroup.subtree_control"), "-hugetlb")


def with_bench(function):
    def run(plan, directory):
        bench = Bench(plan, directory)
        try:
            function(bench)
        finally:
            bench.close()
    return run


TESTS = {name[len("test_"):]: with_bench(function) for name, function in list(globals().items())
         if name.startswith("test_")}


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, TESTS))
