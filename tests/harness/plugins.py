#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""plugins.py - plugins of CRIU's ABI: every hook in its order, with its arguments, in the right state of the task;
plugins that are old, new, broken, or not for us.

Alone:   sudo /usr/bin/python3 tests/harness/plugins.py [--stasis PATH] [test...]

The plugins are tests/plugins/*.c. With CRIU_SRC=checkout of CRIU its two inventory test plugins are built from there
too. The last line is "N passed, N failed, N skipped".
"""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys

import tool
import tracing

FLAGS = ["-shared", "-fPIC"]
REFUSAL = r"/dev/loop-control\) is a device"


# -- plugins --------------------------------------------------------------------

def plugin(name, source=None, defines=()):
    """Build tests/plugins/SOURCE.c. Returns the path of the shared object."""
    return tool.build(f"plugins/{name}.so", [f"plugins/{source or name}.c", "plugins/abi.h"],
                      FLAGS + list(defines))


def folder(directory, *paths):
    """A folder with these plugins. Returns its path."""
    libs = os.path.join(directory, "libs")
    shutil.rmtree(libs, ignore_errors=True)
    os.mkdir(libs)
    for path in paths:
        shutil.copy(path, libs)
    return libs


def lines(directory):
    try:
        with open(os.path.join(directory, "trace")) as text:
            return text.read().split("\n")[:-1]
    except FileNotFoundError:
        return []


# -- the target -------------------------------------------------------------------

def begin(directory, *args, **kw):
    program = tool.build("programs/devices", ["programs/devices.c"])
    pid = tool.start([program, directory, *args], directory, **kw)
    if not tool.wait_for(lambda: has(directory, "ready") or has(directory, "result"), 20):
        raise tool.Failure("the target does not get ready")
    if has(directory, "result"):
        raise tool.Failure("the target: " + read(directory, "result"))
    return pid


def has(directory, name):
    return os.path.exists(os.path.join(directory, name))


def read(directory, name):
    with open(os.path.join(directory, name), errors="replace") as text:
        return text.read()


def finish(directory, expected="ok"):
    """The target looks at what it has."""
    with open(os.path.join(directory, "check"), "w"):
        pass
    if not tool.wait_for(lambda: has(directory, "result"), 20):
        raise tool.Failure("the target does not answer")
    if read(directory, "result") != expected:
        raise tool.Failure("the target: " + read(directory, "result"))


def images_of(directory, name="images"):
    images = os.path.join(directory, name)
    os.mkdir(images)
    return images


def must_fail(what, status, images, action, words):
    said = tool.first_error(images, action, status)
    if status != 1 or not re.search(words, said):
        raise tool.Failure(f"{what}: status {status}: {said}; expected: {words}")


def runs(pid):
    """Not stopped, not traced."""
    if not tool.alive(pid):
        return False
    with open(f"/proc/{pid}/status") as text:
        fields = dict(line.split(":", 1) for line in text.read().splitlines() if ":" in line)
    return fields["State"].split()[0] in "SRD" and not int(fields["TracerPid"])


def must_run(pid, what):
    if not runs(pid):
        raise tool.Failure(f"{what}: the target is dead, stopped or traced")


def expect(directory, pid, expected, what, ordered=True):
    # while mem builds the task works, or sleeps in its agent
    got = [re.sub("state=[SRD]$", "state=S", line.replace(str(pid), "PID")) for line in lines(directory)]
    if not ordered:
        got, expected = sorted(got), sorted(expected)
    if got != expected:
        raise tool.Failure(f"{what}: the hooks were {got}, expected {expected}")
    os.unlink(os.path.join(directory, "trace"))


# From the injection on the task sleeps in its agent.
DUMP = ["init 0 state=S", "PAUSE_DEVICES PID state=S", "CHECKPOINT_DEVICES PID state=t",
        "DUMP_EXT_FILE /dev/loop-control id state=S", "DUMP_EXT_FILE /dev/loop-control id state=S",
        "DUMP_DEVICES_LATE PID state=S", "exit 0 0 state=S"]
RESTORE = ["init 2 state=-", "RESTORE_INIT stored state=-", "POST_FORKING state=S",
           "RESTORE_EXT_FILE /dev/loop-control state=S", "RESTORE_EXT_FILE /dev/loop-control state=S",
           "RESUME_DEVICES_LATE PID state=t", "exit 2 0 state=t"]


# -- tests ------------------------------------------------------------------------

def traced(directory, pid, **more):
    return tool.environment(PLUGIN_TRACE=os.path.join(directory, "trace"), PLUGIN_PID=pid, **more)


def scene(directory, *paths):
    """A folder with these plugins, else with trace.so; the target, a directory for images."""
    libs = folder(directory, *(paths or [plugin("trace")]))
    return libs, begin(directory), images_of(directory)


def dumped(plan, directory, *paths, **more):
    """The same, and the target is dumped; what the plugin wrote meanwhile is gone."""
    libs, pid, images = scene(directory, *paths)
    with traced(directory, pid, **more):
        plan.dumper.dump(pid, images, ["-L", libs])
    os.unlink(os.path.join(directory, "trace"))
    return libs, pid, images


def must_not_dump(plan, directory, pid, images, libs, words, what="dump", **more):
    """With these plugins a dump fails with these words, and the target runs on."""
    with traced(directory, pid, **more):
        status = plan.dumper.run("dump", images, "dump.log", ["-t", str(pid), "-L", libs])
    must_fail(what, status, images, "dump", words)
    must_run(pid, what)


def test_hooks(plan, directory):
    """All hooks of a dump and a restore, in their order; the device files are back, shared as they were."""
    libs = folder(directory, plugin("trace"))
    dump, restore = DUMP, RESTORE
    if plan.uses_criu:		# 4.2 has 13 hooks
        libs = folder(directory, plugin("thirteen", "trace", ["-DMAX_HOOKS=13"]))
        dump = [line for line in DUMP if not line.startswith("DUMP_DEV")]
        restore = [line for line in RESTORE if not line.startswith("RESTORE_INIT")]
        if plan.dumper.is_criu:
            dump[-1] = "exit 0 0 state=t"	# its parasite is out by then
        if plan.restorer.is_criu:
            restore[-1] = "exit 2 0 state=S"	# the task has been let go
    pid = begin(directory)
    for number in range(plan.cycles):
        images = images_of(directory, f"images-{number}")
        with traced(directory, pid):
            plan.dumper.dump(pid, images, ["-L", libs])
            expect(directory, pid, dump, "dump")
            plan.restorer.restore(pid, images, ["-L", libs])
            # CRIU restores files while it calls POST_FORKING
            expect(directory, pid, restore, "restore", not plan.restorer.is_criu)
    finish(directory)


def test_environment(plan, directory):
    """The folder comes from $CRIU_LIBS_DIR; --leave-running leaves all as it is."""
    libs, pid, images = scene(directory)
    with traced(directory, pid, CRIU_LIBS_DIR=libs):
        if plan.dumper.run("dump", images, "dump.log", ["-t", str(pid), "-R"]):
            raise tool.Failure(tool.first_error(images, "dump", 1))
        expect(directory, pid, DUMP[:-1] + ["exit 0 0 state=t"], "dump")
    must_run(pid, "dump -R")
    finish(directory)


def test_exec_workers(plan, directory):
    """The gpu worker as a program of its own."""
    libs, pid, images = scene(directory)
    with traced(directory, pid):
        plan.dumper.dump(pid, images, ["-L", libs, "--exec-workers"])
        expect(directory, pid, DUMP, "dump")
        plan.restorer.restore(pid, images, ["-L", libs, "--exec-workers"])
        expect(directory, pid, RESTORE, "restore")
    finish(directory)


def test_relative(plan, directory):
    """The folder may be named relative to where stasis was started (Tool.run: the images)."""
    pid = begin(directory)
    images = images_of(directory)
    folder(images, plugin("trace"))
    with traced(directory, pid):
        plan.dumper.dump(pid, images, ["-L", "libs"])
        plan.restorer.restore(pid, images, ["-L", "libs"])
    finish(directory)


def test_none(plan, directory):
    """Without a plugin the dump is refused before the freeze, and the target runs on."""
    pid = begin(directory)
    images = images_of(directory)
    must_fail("dump", plan.dumper.run("dump", images, "dump.log", ["-t", str(pid)]), images, "dump", REFUSAL)
    with open(os.path.join(images, "dump.log")) as log:
        if "stage freeze" in log.read():
            raise tool.Failure("the tree was frozen before the dump was refused")
    must_fail("check", plan.dumper.verdict(pid, images, []), images, "check", REFUSAL)
    must_run(pid, "dump")
    finish(directory)


def test_not_taken(plan, directory):
    """No plugin takes the file: the same refusal, later; everything is undone."""
    libs, pid, images = scene(directory)
    must_not_dump(plan, directory, pid, images, libs, REFUSAL, PLUGIN_DO="none")
    expect(directory, pid, DUMP[:4] + ["exit 0 -1 state=t"], "dump")
    finish(directory)


def test_chain(plan, directory):
    """What the first plugin does not take goes to the next, whichever that is."""
    libs, pid, images = dumped(plan, directory, plugin("trace"), plugin("legacy"), PLUGIN_DO="none")
    with traced(directory, pid):
        plan.restorer.restore(pid, images, ["-L", libs])
    if lines(directory).count("legacy restore_file") != 2:
        raise tool.Failure(f"the hooks were {lines(directory)}")
    finish(directory)


def test_legacy(plan, directory):
    """A plugin without a descriptor; its restore_file has one argument."""
    libs, pid, images = scene(directory, plugin("legacy"))
    with traced(directory, pid):
        plan.dumper.dump(pid, images, ["-L", libs])
        expect(directory, pid, ["legacy init", "legacy dump_file", "legacy dump_file", "legacy fini"], "dump")
        # It has no name of its own.
        if f"plugin {libs}/legacy.so: DUMP_EXT_FILE" not in read(images, "dump.log"):
            raise tool.Failure("dump.log does not name the plugin by its path")
        plan.restorer.restore(pid, images, ["-L", libs])
        expect(directory, pid, ["legacy init", "legacy restore_file", "legacy restore_file", "legacy fini"],
               "restore")
    finish(directory)


def test_ten_hooks(plan, directory):
    """A plugin of 3.19: hooks behind the tenth are not looked at, though they are there."""
    libs, pid, images = scene(directory, plugin("ten", "trace", ["-DMAX_HOOKS=10", '-DNAME="ten_plugin"']))
    with traced(directory, pid):
        plan.dumper.dump(pid, images, ["-L", libs])
        expect(directory, pid, [line for line in DUMP if not re.match("PAUSE|CHECKPOINT|DUMP_DEV", line)],
               "dump")
        plan.restorer.restore(pid, images, ["-L", libs])
        expect(directory, pid, [line for line in RESTORE if not re.match("RESTORE_INIT|POST", line)], "restore")
    finish(directory)


def refused(plan, directory, path, words):
    """A dump with such a plugin fails with these words, and the plugin has not been called."""
    libs, pid, images = scene(directory, path)
    must_not_dump(plan, directory, pid, images, libs, words)
    if lines(directory):
        raise tool.Failure(f"it was called: {lines(directory)}")
    finish(directory)


def test_newer(plan, directory):
    refused(plan, directory, plugin("newer", "trace", ["-DVERSION=0x300"]), "newer.so: it is of a newer version")


def test_more_hooks(plan, directory):
    refused(plan, directory, plugin("more", "trace", ["-DMAX_HOOKS=16"]), "more.so: it has more hooks than the 15")


def test_private(plan, directory):
    refused(plan, directory, plugin("private"), "private.so needs compel_wait_task, which is CRIU's own")


def test_broken(plan, directory):
    path = os.path.join(directory, "broken.so")
    with open(path, "w") as text:
        text.write("not a shared object")
    refused(plan, directory, path, "load plugin .*broken.so")


def test_no_folder(plan, directory):
    pid = begin(directory)
    images = images_of(directory)
    must_not_dump(plan, directory, pid, images, "/nowhere", "folder of plugins /nowhere")
    finish(directory)


def test_private_default(plan, directory):
    """In the default folder, which nobody asked for, it is left out with a warning; CRIU's own are replaced."""
    if os.getpid() != 1:
        raise tool.Skip("needs a mount namespace of its own")
    libs = folder(directory, plugin("private"))
    shutil.copy(os.path.join(libs, "private.so"), os.path.join(libs, "cuda_plugin.so"))
    made = not os.path.isdir("/usr/lib/criu")
    if made:
        os.mkdir("/usr/lib/criu")
    subprocess.run(["mount", "--bind", libs, "/usr/lib/criu"], check=True)
    try:
        pid = tool.start(["/bin/sleep", "1000"], directory)
        images = images_of(directory)
        with traced(directory, pid):
            plan.dumper.dump(pid, images, [])
            plan.restorer.restore(pid, images, [])
        log = read(images, "dump.log")
    finally:
        subprocess.run(["umount", "/usr/lib/criu"], check=True)
        if made:
            os.rmdir("/usr/lib/criu")
    if "needs compel_wait_task" not in log or "cuda_plugin.so is not loaded" not in log:
        raise tool.Failure("the log does not tell of the plugins left out")
    if lines(directory):
        raise tool.Failure(f"they were called: {lines(directory)}")


DUMP_HOOKS = ["PAUSE_DEVICES", "CHECKPOINT_DEVICES", "DUMP_EXT_FILE", "DUMP_DEVICES_LATE"]


def test_crash_dump(plan, directory):
    """A plugin that crashes takes the gpu worker with it and nobody else. In exit of a good dump that is over."""
    libs = folder(directory, plugin("trace"))
    pid = begin(directory)
    for number, hook in enumerate(DUMP_HOOKS):
        images = images_of(directory, f"images-{number}")
        must_not_dump(plan, directory, pid, images, libs, "worker gpu .* was killed by signal 11",
                      f"crash in {hook}", PLUGIN_DO="crash " + hook)
    images = images_of(directory)
    with traced(directory, pid, PLUGIN_DO="crash exit"):
        plan.dumper.dump(pid, images, ["-L", libs])
    if not lines(directory)[-1].startswith("exit 0 0"):
        raise tool.Failure(f"exit was not called: {lines(directory)}")
    with traced(directory, pid):
        plan.restorer.restore(pid, images, ["-L", libs])
    finish(directory)


def test_fail_dump(plan, directory):
    """A hook that fails fails the dump; exit is told, before the task runs on."""
    libs = folder(directory, plugin("trace"))
    pid = begin(directory)
    for number, hook in enumerate(["init"] + DUMP_HOOKS):
        images = images_of(directory, f"images-{number}")
        must_not_dump(plan, directory, pid, images, libs, "trace_plugin: ", f"failure of {hook}",
                      PLUGIN_DO="fail " + hook)
        ends = [line for line in lines(directory) if line.startswith("exit 0 -1")]
        if hook != "init" and len(ends) != 1:
            raise tool.Failure(f"{hook} fails: exit was called {len(ends)} times: {lines(directory)}")
        os.unlink(os.path.join(directory, "trace"))
    finish(directory)


RESTORE_HOOKS = ["init", "RESTORE_INIT", "POST_FORKING", "RESTORE_EXT_FILE", "RESUME_DEVICES_LATE"]


def test_fail_restore(plan, directory):
    """A hook that fails or crashes fails the restore, and leaves no task. RESUME_DEVICES_LATE too."""
    libs, pid, images = dumped(plan, directory)
    for deed, words in (("fail ", "trace_plugin: "), ("crash ", "worker gpu .* was killed by signal 11")):
        for hook in RESTORE_HOOKS:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, "trace"))
            with traced(directory, pid, PLUGIN_DO=deed + hook):
                status = plan.restorer.run("restore", images, "restore.log", ["-d", "-L", libs])
            must_fail(deed + hook, status, images, "restore", words)
            if not tool.wait_for(lambda: not tool.alive(pid), 2):
                raise tool.Failure(f"{deed}{hook}: a task is left")
            ends = [line for line in lines(directory) if line.startswith("exit 2 -1")]
            if deed == "fail " and hook != "init" and len(ends) != 1:
                raise tool.Failure(f"{hook} fails: {lines(directory)}")
    with traced(directory, pid):
        plan.restorer.restore(pid, images, ["-L", libs])
    finish(directory)


def kill_steps(directory, run, check):
    """Run with one of us killed at each step; check(status, what) looks at what is left."""
    steps = os.path.join(directory, "steps")
    with tool.environment(STASIS_STEPS_FILE=steps):
        status = run()
    if status:
        raise tool.Failure(f"nobody is killed, and yet the status is {status}")
    check(status, "nobody is killed")
    total = len(tool.steps_of(steps))
    if total < 10:
        raise tool.Failure(f"only {total} steps")
    for variable in ("STASIS_KILL_WORKER_AT", "STASIS_KILL_AT"):
        killed = 0
        for step in range(1, total + 1):
            with tool.environment(**{variable: step}):
                status = run()
            killed += status != 0
            check(status, f"{variable}={step}")
        if killed < total // 2:
            raise tool.Failure(f"{variable}: only {killed} of {total} runs did not end well")


def test_kill_dump(plan, directory):
    """Whoever of us is killed at whatever step of a dump: the target runs on, with its devices."""
    libs, pid, images = scene(directory)

    def check(_, what):
        if not tool.wait_for(lambda: runs(pid), 2):
            must_run(pid, what)

    kill_steps(directory, lambda: plan.dumper.run("dump", images, "dump.log",
                                                  ["-t", str(pid), "-R", "-L", libs]), check)
    plan.dumper.dump(pid, images, ["-L", libs])
    plan.restorer.restore(pid, images, ["-L", libs])
    finish(directory)


def test_kill_restore(plan, directory):
    """The same of a restore: all is there, or nothing."""
    libs, pid, images = scene(directory)
    plan.dumper.dump(pid, images, ["-L", libs])

    def check(status, what):
        # one killed when the task ran already leaves it as a good one does
        if status == 0 or not tool.wait_for(lambda: not tool.alive(pid), 1):
            must_run(pid, what)
            finish(directory)
            for name in ("check", "result"):
                os.unlink(os.path.join(directory, name))
        tool.kill_tree(pid)

    kill_steps(directory, lambda: plan.restorer.run("restore", images, "restore.log", ["-d", "-L", libs]),
               check)
    plan.restorer.restore(pid, images, ["-L", libs])
    finish(directory)


def test_damaged(plan, directory):
    """Images of devices with a bit turned: restored, or refused by one sentence and without a task."""
    libs = folder(directory, plugin("trace"))
    with loop_device(directory) as device:
        pid = begin(directory, device)
        images = images_of(directory)
        plan.dumper.dump(pid, images, ["-L", libs])
        plan.restorer.restore(pid, images, ["-L", libs])	# undamaged they are good
        tool.kill_tree(pid)
        names = sorted(name for name in os.listdir(images)
                       if re.match("files.img|inventory.img|mm-|fdinfo-|trace-", name))
        random = 12345
        refused = 0
        for number in range(120):
            path = os.path.join(images, names[number % len(names)])
            with open(path, "rb") as image:
                whole = image.read()
            random = (random * 1103515245 + 12345) & 0x7fffffff
            at = random // 8 % len(whole)
            with open(path, "wb") as image:
                image.write(whole[:at] + bytes([whole[at] ^ 1 << random % 8]) + whole[at + 1:])
            status = plan.restorer.run("restore", images, "restore.log", ["-d", "-L", libs])
            what = f"{os.path.basename(path)}, byte {at}: status {status}"
            if status not in (0, 1) or "was killed by signal" in read(images, "restore.log"):
                raise tool.Failure(what)
            if status == 1:
                refused += 1
                if not tool.wait_for(lambda: not tool.alive(pid), 2):
                    raise tool.Failure(what + ": a task is left")
            tool.kill_tree(pid)
            with open(path, "wb") as image:
                image.write(whole)
        if refused < 20:
            raise tool.Failure(f"only {refused} damaged dumps were refused")


def test_retry(plan, directory):
    """A plugin that asks for another try twice gets it."""
    libs, pid, images = dumped(plan, directory)
    with traced(directory, pid, PLUGIN_DO="retry"):
        plan.restorer.restore(pid, images, ["-L", libs])
    tries = sum(line.startswith("RESTORE_EXT_FILE") for line in lines(directory))
    if tries != 4:
        raise tool.Failure(f"{tries} tries for two files, the first two of which were in vain")
    finish(directory)


def test_required(plan, directory):
    """A restore without a plugin that the dump needs is refused before any task exists."""
    libs, pid, images = dumped(plan, directory)
    status = plan.restorer.run("restore", images, "restore.log", ["-d"])
    must_fail("restore", status, images, "restore", "needs the plugin trace_plugin")
    if "stage root" in read(images, "restore.log"):
        raise tool.Failure("a task was made before the plugin was missed")
    with traced(directory, pid):
        plan.restorer.restore(pid, images, ["-L", libs])
    finish(directory)


def test_new_task(plan, directory):
    """Of a tree, devices of every task are paused and checkpointed, those of one born late too."""
    libs = folder(directory, plugin("trace"))
    # It bears a child when the first pause has begun, which lasts until that is there.
    pid = tool.start(["/bin/sh", "-c", "until grep -qs PAUSE trace; do sleep 0.01; done;"
                      "sleep 1000 & echo $! >late; wait"], directory)
    images = images_of(directory)
    with traced(directory, pid, PLUGIN_DO="await " + os.path.join(directory, "late")):
        plan.dumper.dump(pid, images, ["-L", libs])
    child = read(directory, "late").strip()
    paused = [line.split()[1] for line in lines(directory) if line.startswith("PAUSE")]
    stopped = {line.split()[1] for line in lines(directory) if line.startswith("CHECKPOINT")}
    frozen = [line for line in lines(directory) if line.startswith("PAUSE") and "state=t" in line]
    if paused[0] == child or stopped != {str(pid), child} or not stopped <= set(paused) or frozen:
        raise tool.Failure(f"{child} was born late; paused {paused}, of these frozen {frozen}; "
                           f"checkpointed {stopped}")


@contextlib.contextmanager
def loop_device(directory):
    """A block device of three pages A, B, C."""
    path = os.path.join(directory, "disk")
    with open(path, "wb") as disk:
        disk.write(b"A" * 4096 + b"B" * 4096 + b"C" * 4096)
    made = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, check=False)
    if made.returncode:
        raise tool.Skip("no loop device: " + made.stderr.strip())
    device = made.stdout.strip()
    try:
        yield device
    finally:
        if os.getpid() == 1:
            tool.kill_tree(0)
        subprocess.run(["losetup", "-d", device], check=False)


def test_mapping(plan, directory):
    """Memory of a device: HANDLE_DEVICE_VMA takes it, it is mapped again, at another offset if the plugin says so."""
    libs = folder(directory, plugin("trace"))
    with loop_device(directory) as device:
        for number, (deed, first) in enumerate((("", "mB"), ("shift", "mC"))):
            own = plan.new_directory(f"d{number}", directory)
            pid = begin(own, device)
            images = images_of(own)
            status = plan.dumper.run("dump", images, "dump.log", ["-t", str(pid)])
            must_fail("dump without plugin", status, images, "dump", "device")
            with traced(own, pid, PLUGIN_DO=deed):
                plan.dumper.dump(pid, images, ["-L", libs])
                told = [line for line in lines(own) if line.startswith("HANDLE")]
                if len(told) != 1 or not re.match("HANDLE_DEVICE_VMA 7:[0-9]+ open=1 state=[SRD]$", told[0]):
                    raise tool.Failure(f"the hooks were {lines(own)}")
                plan.restorer.restore(pid, images, ["-L", libs])
            finish(own)
            if read(own, "first") != first:
                raise tool.Failure(f"the task sees {read(own, 'first')} instead of {first}")
            with open(f"/proc/{pid}/smaps") as text:
                parts = text.read().split(device)[1:]
            flags = [part.split("VmFlags:", 1)[1].split("\n")[0].split() for part in parts]
            if len(flags) != 2 or not any("dc" in words for words in flags):
                raise tool.Failure(f"two mappings, one with MADV_DONTFORK, have become {flags}")


def spare_numbers(path):
    """The first descriptor number of the task that NetCreate and GpuCreate say to be free."""
    found = {}
    for message in tracing.Trace(path).messages:
        for body, spare in ((38, 1), (141, 2)):
            if body in message:
                found[body] = tracing.fields(tracing.fields(message[body])[spare])[2]
    return found[38], found[141]


def test_unix(plan, directory):
    """A socket whose peer is outside the tree is dumped and made by a plugin."""
    libs = folder(directory, plugin("trace"))
    ours, theirs = socket.socketpair()
    pid = begin(directory, "unix", str(theirs.fileno()), pass_fds=[theirs.fileno()])
    theirs.close()
    images = images_of(directory)
    must_not_dump(plan, directory, pid, images, libs, "its peer", PLUGIN_DO="none")
    with traced(directory, pid):
        plan.dumper.dump(pid, images, ["-L", libs])
        plan.restorer.restore(pid, images, ["-L", libs, "--trace", "restore.trace"])
    for hook in ("DUMP_UNIX_SK ino state=", "RESTORE_UNIX_SK ino state="):
        if hook not in "".join(lines(directory)):
            raise tool.Failure(f"no {hook}: {lines(directory)}")
    net, gpu = spare_numbers(os.path.join(images, "restore.trace"))
    if gpu < net + 8:
        raise tool.Failure(f"net, which has 8 descriptor numbers of the task from {net} on, and gpu, which has "
                           f"those from {gpu} on, are at work at the same time")
    finish(directory, "plugin")
    ours.close()


def test_inventory(plan, directory):
    """CRIU's own test plugins of its inventory."""
    source = os.environ.get("CRIU_SRC")
    if not source:
        raise tool.Skip("CRIU_SRC=checkout of CRIU builds its plugins")
    built = []
    for name in ("enabled", "disabled"):
        built.append(os.path.join(directory, f"inventory_test_{name}_plugin.so"))
        flags = [f"-iquote{source}/{d}" for d in ("include", "criu/include", "criu/arch/x86/include", "",
                                                  "compel/include", "images")]
        subprocess.run(["cc", "-g", "-shared", "-fPIC", *flags, "-I" + source,
                        f"{source}/test/plugins/inventory_test_{name}_plugin.c", "-o", built[-1]], check=True)
    libs = folder(directory, *built)
    pid = tool.start(["/bin/sleep", "1000"], directory)
    images = images_of(directory)
    plan.dumper.dump(pid, images, ["-L", libs])
    plan.restorer.restore(pid, images, ["-L", libs])
    plan.dumper.dump(pid, images_of(directory, "second"), ["-L", libs])
    status = plan.restorer.run("restore", os.path.join(directory, "second"), "restore.log",
                               ["-d", "-L", folder(directory, built[1])])
    must_fail("restore", status, os.path.join(directory, "second"), "restore",
              "needs the plugin inventory_test_enabled_plugin")


TESTS = [test_hooks, test_environment, test_exec_workers, test_relative, test_none, test_not_taken,
         test_chain, test_legacy, test_ten_hooks, test_newer, test_more_hooks, test_private, test_broken, test_no_folder,
         test_private_default, test_crash_dump, test_fail_dump, test_fail_restore,
         test_kill_dump, test_kill_restore, test_damaged, test_retry, test_required,
         test_new_task, test_mapping, test_unix, test_inventory]


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, {test.__name__[len("test_"):]: test for test in TESTS}, mixed=["hooks"]))
