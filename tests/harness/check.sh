#!/bin/sh
# SPDX-License-Identifier: MIT
# Run all tests of a build: check.sh BUILD [all|asan]. Ends with "N passed, N failed, N skipped".
# all: every moment and every damaged image instead of samples. asan: what shows memory errors.
# Each part prints its own such line (or is a unit test program); they are added up here.
build=$1
mode=$2
cd "$(dirname "$0")/../.." || exit 1
stasis=$PWD/$build/stasis
logs=$(mktemp -d /tmp/stasis-check-XXXXXX)
passed=0 failed=0 skipped=0
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH

# add PASSED FAILED SKIPPED
add() {
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + ${3:-0}))
}

# part NAME SECONDS COMMAND...: a harness whose last line has the counts
part() {
	name=$1 limit=$2
	shift 2
	echo "== $name"
	began=$(date +%s)
	timeout -k 10 "$limit" "$@" >"$logs/part" 2>&1 </dev/null
	code=$?
	grep -E '^(FAIL|SKIP|skip|not ok)|: (FAIL|skip)' "$logs/part" | head -40
	took=$(($(date +%s) - began))
	counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$logs/part" | tail -n 1)
	if [ -z "$counts" ]; then
		tail -n 15 "$logs/part"
		echo "FAIL $name: ended with status $code and no count"
		add 0 1 0
		return
	fi
	echo "$name: $counts ($took s)"
	# shellcheck disable=SC2046
	add $(echo "$counts" | sed -E 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?.*/\1 \2 \4/')
}

# unit PROGRAM: prints "ok - NAME", "FAIL - NAME" or "skip - NAME: REASON" a test
unit() {
	name=$(basename "$1")
	began=$(date +%s)
	timeout -k 10 300 "$1" >"$logs/part" 2>&1 </dev/null
	code=$?
	good=$(grep -c '^ok - ' "$logs/part")
	bad=$(grep -c '^FAIL - ' "$logs/part")
	left=$(grep -c '^skip - ' "$logs/part")
	[ "$code" -eq 0 ] || [ "$code" -eq 77 ] || [ "$bad" -gt 0 ] || bad=1
	[ "$code" -eq 77 ] && [ "$left" -eq 0 ] && left=1
	echo "$name: $good passed, $bad failed, $left skipped ($(($(date +%s) - began)) s)"
	grep '^skip - ' "$logs/part"
	[ "$bad" -eq 0 ] || { echo "FAIL $name (status $code)"; tail -n 25 "$logs/part"; }
	add "$good" "$bad" "$left"
}

echo "== unit tests"
for t in "$build"/tests/unit/*_test; do
	unit "$t"
done
cr=tests/harness/cr.py
apps=tests/harness/apps.py
servers=tests/harness/servers.py
given=tests/harness/given.py
bad=tests/harness/badimages.py
part "cases, two cycles, as root" 900 $cr --stasis "$stasis"
part "sockets in our own pid namespace, where /proc/locks may show all" 200 $cr --stasis "$stasis" \
	--no-unshare socket_locks unix_many unix_rights
part "programs, two cycles, as root" 900 $apps --stasis "$stasis"
part "options about cgroups" 300 tests/harness/cgroups.py --stasis "$stasis"
part "plugins" 300 tests/harness/plugins.py --stasis "$stasis"
if [ "$mode" != asan ]; then
	part "cases, two cycles, as another uid" 900 $cr --stasis "$stasis" --uid 12345
	part "programs, two cycles, as another uid" 900 $apps --stasis "$stasis" --uid 12345
	part "servers with clients, two cycles" 900 $servers --stasis "$stasis"
	part "locked networks" 200 tests/harness/netlock.py --stasis "$stasis"
	part "files given by the user" 300 $given --stasis "$stasis"
	part "files given by the user, another uid" 300 $given --stasis "$stasis" --uid 12345
	part "workers that fail" 400 tests/harness/workers.py --stasis "$stasis"
	part "traces" 200 tests/harness/tracing.py --stasis "$stasis"
	part "CUDA tasks, by stand-ins" 300 tests/harness/cuda.py --stasis "$stasis"
	part "objects of the host" 200 tests/harness/hostobjects.py --stasis "$stasis"
	part "virtual machine, short" 600 tests/vm/check.sh --short --stasis "$stasis"
fi
case $mode in
all)
	part "crash safety" 3600 tests/harness/crash.py --stasis "$stasis" --random 1000
	part "damaged images" 3600 $bad --stasis "$stasis" --cases 0
	part "virtual machine, every failure" 7300 tests/vm/check.sh --every --stasis "$stasis"
	;;
asan)
	part "damaged images" 900 $bad --stasis "$stasis" --cases 1000
	;;
*)
	part "crash safety" 900 tests/harness/crash.py --stasis "$stasis"
	part "damaged images" 600 $bad --stasis "$stasis" --cases 400
	;;
esac
if [ -n "$CRIU" ] && [ "$mode" != asan ]; then
	for mixed in stasis-criu criu-stasis; do
		part "cases, $mixed" 900 $cr --stasis "$stasis" --criu "$CRIU" --mode $mixed
		part "programs, $mixed" 900 $apps --stasis "$stasis" --criu "$CRIU" --mode $mixed
		part "plugins, $mixed" 100 tests/harness/plugins.py --stasis "$stasis" --criu "$CRIU" \
			--mode $mixed
		part "servers, $mixed" 900 $servers --stasis "$stasis" --criu "$CRIU" --mode $mixed
		part "locked networks, $mixed" 200 tests/harness/netlock.py --stasis "$stasis" \
			--criu "$CRIU" --mode $mixed
		part "files given, $mixed" 300 $given --stasis "$stasis" --criu "$CRIU" --mode $mixed
		part "options about cgroups, $mixed" 300 tests/harness/cgroups.py \
			--stasis "$stasis" --criu "$CRIU" --mode $mixed
	done
else
	echo "skip interoperability: make check CRIU=path of a CRIU 4.2 binary runs it"
	add 0 0 1
fi
rm -rf "$logs"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
