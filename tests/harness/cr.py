#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""cr.py - freeze and thaw every case of tests/cr/.

Alone:   sudo /usr/bin/python3 tests/harness/cr.py [options] [case...]
         --stasis PATH           the program under test
         --uid 12345             the case as another user, the program as root
         --cycles 1              once instead of twice in a row
         --criu PATH --mode stasis-criu | criu-stasis
                                 dump with the one, restore with the other
         --crit PATH             every image must be readable

A case is built when its sources are newer, started, dumped (and must be gone),
restored, dumped and restored again, told to look, and asked for its result.
The last line is "N passed, N failed, N skipped".
"""
import glob
import os
import subprocess
import sys

import tool


def case_names():
    paths = glob.glob(os.path.join(tool.ROOT, "tests", "cr", "*.c"))
    return sorted(os.path.splitext(os.path.basename(p))[0] for p in paths)


def headers():
    """What cases share, beside case.h."""
    return [os.path.join("cr", os.path.basename(path))
            for path in glob.glob(os.path.join(tool.ROOT, "tests", "cr", "*.h"))]


def about(program):
    """What case.c prints for --about."""
    lines = subprocess.run([program, "--about"], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.split("\n")
    return {"options": lines[0].split(), "needs_root": lines[1] == "1", "criu_fails": lines[2],
            "later": lines[3], "between": lines[4] == "1", "proves": lines[5]}


def read(path):
    try:
        with open(path, errors="replace") as text:
            return text.read()
    except OSError:
        return ""


def result(directory):
    """Raise what the case found; return when it is content."""
    text = read(os.path.join(directory, "result")).strip()
    if text == "ok":
        return
    if text.startswith("skip: "):
        raise tool.Skip(text[len("skip: "):])
    failures = read(os.path.join(directory, "failures")).strip().split("\n")
    raise tool.Failure(failures[0] + (f" and {len(failures) - 1} more" if failures[1:] else ""))


def has(directory, name):
    return os.path.exists(os.path.join(directory, name))


def finish(pid, directory):
    """Tell the case to look at itself and wait for its result."""
    with open(os.path.join(directory, "go"), "w"):
        pass
    if not tool.wait_for(lambda: has(directory, "result") or not tool.alive(pid), 60):
        raise tool.Failure("no result after 60 s")
    if not has(directory, "result"):
        raise tool.Failure("the task died without a result " +
                           read(os.path.join(directory, "failures")).strip())
    result(directory)


def check_unharmed(pid, directory, failure):
    """After a failed dump the task must go on as if nothing had been."""
    if not str(failure).startswith("dump: ") or not tool.alive(pid):
        raise failure
    try:
        finish(pid, directory)
    except tool.Failure as harm:
        raise tool.Failure(f"{failure}; AND THE TASK WAS HARMED: {harm}") from None
    raise failure


def refused(tool_run, images, action, wanted):
    """The command must fail with status 1; its last words must have all of wanted in them."""
    status = tool_run()
    if status != 1:
        raise tool.Failure(f"{action} of what it cannot do ended with {status}, not 1")
    words = (read(os.path.join(images, action + ".out")).strip().split("\n") or [""])[-1]
    missing = [text for text in wanted if text not in words]
    if missing:
        raise tool.Failure(f"{action} refused without naming {missing}: {words!r}")


# Only a stopped task tells (messages in a queue come and go), so "check PID" cannot know.
UNSEEN = {"dispatch", "lock_in_flight", "netlink_queue", "tcp_mapped"}


def check_refusal(plan, pid, directory, facts):
    """What this version cannot do must be refused in a sentence, and harm nobody."""
    images = os.path.join(directory, "images-0")
    os.mkdir(images)
    if plan.dumper.is_criu:
        plan.dumper.dump(pid, images, facts["options"])
        refused(lambda: plan.restorer.run("restore", images, "restore.log",
                                          ["-d"] + facts["options"]), images, "restore", [".img"])
        if tool.alive(pid):
            raise tool.Failure("a refused restore left a task behind")
        return
    if os.path.basename(directory) not in UNSEEN and \
            plan.dumper.verdict(pid, images, facts["options"]) != 1:
        raise tool.Failure("check does not say that a dump would fail")
    refused(lambda: plan.dumper.run("dump", images, "dump.log",
                                    ["-t", str(pid)] + facts["options"]),
            images, "dump", ["task ", facts["later"].split(":")[0]])
    if os.path.exists(os.path.join(images, "inventory.img")):
        raise tool.Failure("a refused dump left an inventory.img")
    finish(pid, directory)


def run_case(name):
    def run(plan, directory):
        program = tool.build(f"cr/{name}", [f"cr/{name}.c", "case.c", "case.h"] + headers())
        facts = about(program)
        if facts["needs_root"] and plan.uid:
            raise tool.Skip("needs uid 0 itself")
        if facts["criu_fails"] and plan.uses_criu:
            raise tool.Skip(facts["criu_fails"])
        pid = tool.start([program, directory], directory, plan.uid)
        if not tool.wait_for(lambda: has(directory, "ready") or not tool.alive(pid), 30):
            raise tool.Failure("not ready after 30 s")
        if not has(directory, "ready"):
            result(directory)
        if facts["later"] and not (plan.dumper.is_criu and plan.restorer.is_criu):
            check_refusal(plan, pid, directory, facts)
            return
        between = [program, "--between", directory] if facts["between"] else None
        try:
            for number in range(plan.cycles):
                plan.cycle(pid, directory, number, facts["options"], between=between)
        except tool.Failure as failure:
            check_unharmed(pid, directory, failure)
        finish(pid, directory)
    return run


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, {name: run_case(name) for name in case_names()}))
