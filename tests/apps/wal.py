#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""wal.py - two tasks write one SQLite database with a write-ahead log.

usage: wal.py DATABASE FILE

The child inserts numbers; the parent reads the last one, deletes what is older, and appends
to FILE each number it has not seen yet: none may be missing.
"""
import os
import sqlite3
import sys
import time


def connect(path):
    base = sqlite3.connect(path, timeout=30, isolation_level=None)
    base.execute("pragma journal_mode = wal")
    base.execute("pragma synchronous = off")
    return base


def insert(path):
    base = connect(path)
    number = 0
    while True:
        number += 1
        base.execute("insert into t values (?)", (number,))
        time.sleep(0.005)


def main():
    connect(sys.argv[1]).execute("create table t(n)").connection.close()
    if os.fork() == 0:
        insert(sys.argv[1])
    base = connect(sys.argv[1])
    seen = 0
    with open(sys.argv[2], "a", buffering=1, encoding="ascii") as out:
        while True:
            for row in base.execute("select n from t where n > ? order by n", (seen,)).fetchall():
                seen = row[0]
                out.write(f"{seen}\n")
            base.execute("delete from t where n < ?", (seen - 100,))
            time.sleep(0.01)


if __name__ == "__main__":
    main()
