#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""pty_shell.py - an interactive bash in a terminal of ours.

usage: pty_shell.py FILE

Types "echo $((N*N))" into the shell and appends "N answer" to FILE, for ever.
Every tenth question goes through a background job, so job control is used.
"""
import os
import pty
import re
import sys
import time


def ask(terminal, number):
    """Type one question, read until its answer is there."""
    job = "sleep 0.01 & wait; " if number % 10 == 0 else ""
    os.write(terminal, f"{job}echo answer=$(({number}*{number}))=\n".encode())
    text = b""
    while True:
        text += os.read(terminal, 4096)
        found = re.search(rb"answer=(\d+)=", text)
        if found:
            return int(found.group(1))


def main():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-i"])
    with open(sys.argv[1], "a", buffering=1, encoding="ascii") as out:
        number = 0
        while True:
            number += 1
            out.write(f"{number} {ask(terminal, number)}\n")
            time.sleep(0.01)


if __name__ == "__main__":
    main()
