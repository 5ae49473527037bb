#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""scope.py - which zdtm tests of a CRIU checkout concern us.

Prints one line per test of the host flavour: "run NAME" or "skip NAME: reason".
The reasons come from the checkout's own .desc files (flavour, architecture,
manual tests) and from scope.txt beside this file.

Alone:  PATH=/usr/bin:$PATH python3 tests/zdtm/scope.py CRIU_SRC
"""
import fnmatch
import os
import platform
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def read_scope(path):
    """The exclusion table: (pattern, reason) in file order."""
    rows = []
    with open(path) as table:
        for line in table:
            line = line.split("#")[0].strip()
            if line:
                pattern, reason = line.split(None, 1)
                rows.append((pattern, reason))
    return rows


def read_desc(path):
    """A .desc file is a Python expression giving a dictionary, or absent, or empty.

    zdtm.py evaluates it too, so this runs nothing that would not run anyway.
    """
    try:
        with open(path) as desc:
            text = desc.read().strip()
    except FileNotFoundError:
        return {}
    return eval(text, {"os": os}) if text else {}


def list_tests(test_dir):
    out = subprocess.run([sys.executable, "zdtm.py", "list"], cwd=test_dir, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return [name for name in out.split()
            if name.startswith(("zdtm/static/", "zdtm/transition/"))]


def reason_to_skip(name, desc, scope):
    if "h" not in desc.get("flavor", "h ns uns").split():
        return "needs another namespace (no host flavour)"
    if desc.get("arch", platform.machine()) != platform.machine():
        return "for " + desc["arch"]
    if "noauto" in desc.get("flags", "").split():
        return "manual test"
    for pattern, reason in scope:
        if fnmatch.fnmatchcase(name, pattern):
            return reason
    return None


def main():
    test_dir = os.path.join(sys.argv[1], "test")
    scope = read_scope(os.path.join(HERE, "scope.txt"))
    for name in list_tests(test_dir):
        desc = read_desc(os.path.join(test_dir, name + ".desc"))
        short = name[len("zdtm/"):]
        why = reason_to_skip(short, desc, scope)
        print(f"skip {short}: {why}" if why else f"run {short}")


if __name__ == "__main__":
    main()
