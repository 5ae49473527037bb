#!/bin/sh
# SPDX-License-Identifier: MIT
# Inside the virtual machine: the software GPU's own test, then programs on it frozen and thawed. With --short only
# some of the latter, with --every each failure position instead. Ends with one line "N passed, N failed, N skipped" for all.
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH
# Not on /tmp: the tree may be there.
TMPDIR=/stasis-tmp
export TMPDIR
mkdir -p $TMPDIR && mount -t tmpfs -o mode=1777,size=80% tmp $TMPDIR || exit 1
passed=0 failed=0 skipped=0

# run COMMAND...: its last line with counts is added, all others are shown
run() {
	"$@" 2>&1 | tee "$TMPDIR/output" | grep --line-buffered -v '^[0-9]* passed, [0-9]* failed'
	counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$TMPDIR/output" | tail -n 1)
	if [ -z "$counts" ]; then
		echo "FAIL $1: ended without a count"
		failed=$((failed + 1))
		return
	fi
	# shellcheck disable=SC2046
	set -- $(echo "$counts" | tr -dc '0-9 ')
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

case $1 in
--short | --every) ;;
*) run tests/softgpu/selftest.sh ;;
esac
run tests/softgpu/scenarios.py "$@"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
