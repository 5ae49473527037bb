#!/bin/sh
# SPDX-License-Identifier: MIT
# Show a real program being frozen and thawed: demo.sh STASIS
set -e
stasis=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d /tmp/stasis-demo-XXXXXX)
images=$work/images
mkdir "$images"
pid=
trap 'kill -9 $pid 2>/dev/null; rm -rf "$work"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. A Python program with five threads prints a running count and a hash chain"
setsid /usr/bin/python3 tests/programs/chain.py "$work/chain" 4 </dev/null >/dev/null 2>&1 &
pid=$!
sleep 2
ps -o pid,nlwp,stat,etime,args -p $pid
tail -n 3 "$work/chain"

say "2. stasis dump -t $pid -D $images: it is frozen into images and gone"
"$stasis" dump -t $pid -D "$images" -o dump.log --display-stats
ps -o pid,args -p $pid || echo "(ps finds no task $pid)"
before=$(wc -l <"$work/chain")
echo "the chain stands at $before:"; tail -n 1 "$work/chain"

say "3. The image directory"
ls -l "$images"
"$stasis" show "$images/core-$pid.img" | head -n 12

say "4. Two seconds later: stasis restore -D $images -d"
sleep 2
[ "$(wc -l <"$work/chain")" -eq "$before" ]
"$stasis" restore -D "$images" -d -o restore.log
ps -o pid,nlwp,stat,etime,args -p $pid
sleep 1
after=$(wc -l <"$work/chain")
echo "the chain goes on from $before to $after:"
sed -n "$((before - 1)),$((before + 2))p" "$work/chain"

say "5. Every link verified"
/usr/bin/python3 tests/programs/chain_check.py "$work/chain" $((before + 10))
