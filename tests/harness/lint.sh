#!/bin/sh
# SPDX-License-Identifier: MIT
# What exceeds the aims of our style; a good reason is a good reason. Exit status 0 always but
# for missing SPDX lines, which have none.
cd "$(dirname "$0")/../.." || exit 1
git ls-files '*.c' '*.h' '*.S' '*.py' '*.sh' '*.proto' | while read -r f; do
	head -3 "$f" | grep -q SPDX || echo "$f: no SPDX line"
done | tee /dev/stderr | grep -q . && bad=1
git ls-files '*.c' '*.h' | xargs wc -l | awk '$2 != "total" && $1 > 600 { print $2 ": " $1 " lines" }'
git ls-files '*.c' | xargs awk '
	FNR == 1 { fn = "" }
	length($0) > 104 { print FILENAME ":" FNR ": " length($0) " columns" }
	/^[a-z].*\)$/ || /^\t+.*[^;]\)$/ { head = $0 }
	/^{/ { start = FNR }
	/^}/ { if (start && FNR - start > 60) print FILENAME ":" start ": function of " FNR - start " lines"; start = 0 }'
exit ${bad:-0}
