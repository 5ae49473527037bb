#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - run CRIU's own test suite against our program.
#
# usage: tests/zdtm/run.sh CRIU_SRC STASIS_BIN [TEST...]
#
# CRIU_SRC is a checkout of CRIU 4.2 that the user provides; only it is built
# (its tests and its Python library), nothing of it is copied.  TEST is a name
# such as cow00, transition/fork or inhfd/pipe.py; without names all tests in scope
# run (scope.py, scope.txt).  Needs root.
#
# AS_ROOT=1    the tests keep uid 0 (zdtm otherwise changes to uid 18943)
# TIMEOUT=60   seconds for one test
# LOGS=DIR     where outputs of failed tests go (a new directory in /tmp)
# ZDTM_ARGS    more options for "zdtm.py run", e.g. "--pre 2" or "--rpc"
# RESULTS=FILE also write the result lines there
#
# Prints PASS/FAIL/SKIP per test, then "N passed, N failed, N skipped".
set -u

here=$(cd "$(dirname "$0")" && pwd)
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH	# Debian's python3 first
AS_ROOT=${AS_ROOT:-}
TIMEOUT=${TIMEOUT:-60}
RESULTS=${RESULTS:-/dev/null}

die() { echo "run.sh: $*" >&2; exit 1; }

[ $# -ge 2 ] || { sed -n '3,23s/^# \{0,1\}//p' "$0"; exit 1; }
if [ "$(id -u)" != 0 ]; then
	echo "SKIP zdtm: needs root"
	exit 77
fi
criu_src=$(realpath "$1") && bin=$(realpath "$2") || exit 1
shift 2
[ -f "$criu_src/test/zdtm.py" ] || die "$criu_src is no CRIU checkout"
[ -x "$bin" ] || die "$bin is not executable"

# Build what zdtm needs: its tests, and pycriu, which it imports.
build() {
	if [ ! -f "$criu_src/lib/pycriu/images/pstree_pb2.py" ]; then
		make -s -C "$criu_src" -j2 lib crit >"$logs/build.log" 2>&1 ||
			die "cannot build pycriu, see $logs/build.log"
	fi
	if [ ! -x "$criu_src/test/zdtm/static/busyloop00" ]; then
		# -k: a test whose library is absent must not stop the others
		make -s -k -C "$criu_src/test/zdtm" -j2 >>"$logs/build.log" 2>&1
	fi
	[ -x "$criu_src/test/zdtm/static/busyloop00" ] ||
		die "cannot build the zdtm tests, see $logs/build.log"
}

# zdtm starts each test through make and names the uid in the environment.
# A make of our own, first in PATH, drops those names again.
make_root_shim() {
	mkdir -p "$work/bin"
	printf '#!/bin/sh\nunset ZDTM_UID ZDTM_GID ZDTM_GROUPS\nexec %s "$@"\n' \
		"$(command -v make)" >"$work/bin/make"
	chmod +x "$work/bin/make"
}

# What we hold would be held by every test, and dumped: keep 0, 1 and 2.
close_inherited() {
	local fd

	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
	done
}

# Outputs of an earlier, killed run stop a test from starting.
forget_outputs() {
	local f=$criu_src/test/zdtm/$1

	rm -rf "$f.pid" "$f.out" "$f.out.inprogress" "$criu_src/test/dump/$(full "$1")"
}

# zdtm's own name: zdtm/static/NAME, but inhfd/NAME.
full() {
	case $1 in
	inhfd/*) echo "$1" ;;
	*) echo "zdtm/$1" ;;
	esac
}

report() {
	echo "$1 $2${3:+ ($3)}" | tee -a "$RESULTS"
}

# Run one test and count its result.
run_one() {
	local name=$1 log=$work/out rc

	forget_outputs "$name"
	# The suite makes a pid namespace of its own: killing the process group
	# takes its init, and with it whatever the test has left.
	# shellcheck disable=SC2086
	(cd "$criu_src/test" &&
	 PATH=${AS_ROOT:+$work/bin:}$PATH timeout -s KILL "$TIMEOUT" \
		./zdtm.py run -t "$(full "$name")" -f h --criu-bin "$bin" \
		--ignore-taint ${ZDTM_ARGS:-}) </dev/null >"$log" 2>&1
	rc=$?
	if grep -q '^Skipping ' "$log"; then
		skipped=$((skipped + 1))
		report SKIP "$name" "$(sed -n 's/^Skipping [^ ]* (\(.*\))$/\1/p' "$log")"
	elif [ $rc = 0 ] && grep -q "Test $(full "$name") PASS" "$log"; then
		passed=$((passed + 1))
		report PASS "$name"
	elif grep -q "Test $(full "$name") FAIL at unexpected success" "$log"; then
		# crfail: zdtm has looked at the result, and only then minds that there is one
		passed=$((passed + 1))
		report PASS "$name" "CRIU refuses it"
	else
		failed=$((failed + 1))
		keep_failure "$name"
		report FAIL "$name" "$(why "$log" $rc), $logs/$name"
	fi
}

why() {
	local step

	step=$(sed -n 's/^#* Test .* FAIL at \(.*[^ #]\) #*$/\1/p' "$1" | head -1)
	if [ "$2" = 137 ]; then
		echo "timeout ${TIMEOUT}s${step:+, $step}"
	else
		echo "${step:-exit $2}"
	fi
}

# Save what zdtm printed, the images and the test's own words.
keep_failure() {
	local d=$logs/$1 f=$criu_src/test/zdtm/$1

	mkdir -p "$d"
	cp "$work/out" "$d/zdtm.out"
	cp "$f.out" "$f.out.inprogress" "$d/" 2>/dev/null
	mv "$criu_src/test/dump/$(full "$1")" "$d/images" 2>/dev/null
}

logs=${LOGS:-$(mktemp -d /tmp/zdtm-logs.XXXXXX)}
mkdir -p "$logs"
work=$(mktemp -d /tmp/zdtm-work.XXXXXX)
trap 'rm -rf "$work"' EXIT
close_inherited
passed=0 failed=0 skipped=0
build
make_root_shim
if [ $# -gt 0 ]; then
	names=$(printf '%s\n' "$@" | sed 's,^zdtm/,,; s,^[^/]*$,static/&,')
else
	table=$(python3 "$here/scope.py" "$criu_src") || die "cannot list the tests"
	names=$(echo "$table" | sed -n 's/^run //p')
	skipped=$(echo "$table" | grep -c '^skip ')
	echo "$table" | grep '^skip ' >"$logs/out-of-scope"
fi
for name in $names; do
	run_one "$name"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] || { echo "logs of failed tests: $logs"; exit 1; }
