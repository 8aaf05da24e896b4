# shellcheck shell=bash
# Sourced by npm test, test:asan and test:workers after steps.sh: projects of vitest.config.ts side by side.

work=$(mktemp -d)
declare -A running=()
# shellcheck disable=SC2329 # by trap
clean_up() {
	((!${#running[@]})) || kill "${!running[@]}" 2>/dev/null
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until a project has ended. `wait -n` does not know one that ended before it was called; wait with its number does.
one_ended() {
	local pid before=${#running[@]}
	while :; do
		for pid in "${!running[@]}"; do
			[[ ! -d /proc/$pid ]] || continue
			wait "$pid" || projects_status=1
			unset "running[$pid]"
		done
		((${#running[@]} == before)) || return 0
		wait -n "${!running[@]}" 2>/dev/null || :
	done
}

# run_projects AT_ONCE PROJECT...: each in a vitest of its own ($vitest), so many at a time, started in this order. Leaves what failed
# in $projects_status and the tests of all in $projects_summary; a project that ended without its summary is a failed test.
run_projects() {
	local at_once=$1 project
	shift
	projects_status=0
	export NODE_EBPF_TEST_SUMMARY=$work/summary
	: >"$NODE_EBPF_TEST_SUMMARY"
	# In CI vitest writes lines one below the other, as several at a time must.
	export CI=true
	for project in "$@"; do
		if ((${#running[@]} == at_once)); then one_ended; fi
		(as_root "${vitest[@]}" --project "$project") </dev/null &
		running[$!]=$project
	done
	while ((${#running[@]})); do one_ended; done
	projects_summary=$(awk -v runs=$# '
		{ passed += $1; failed += $3; skipped += $5 }
		END { printf "%d passed, %d failed, %d skipped\n", passed, failed + runs - NR, skipped }
	' "$NODE_EBPF_TEST_SUMMARY")
}
