# shellcheck shell=bash
# Sourced by the other scripts: the tree's folders, error messages, and steps that run only if their inputs changed.
set -euo pipefail
umask 022
# Fix the order of file names and the language of messages, as hashes are made from both.
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache
cd "$root"

die() {
	printf '%s\n' "$*" >&2
	exit 1
}

have() {
	command -v "$1" >/dev/null 2>&1
}

jobs() {
	nproc 2>/dev/null || echo 2
}

# Prints one hash over names and contents of the given files and folders (those that exist), and over the extra words in $salt.
hash_of() {
	local path files=()
	for path in "$@"; do
		[[ -e $path ]] && files+=("$path")
	done
	{
		printf '%s\n' "${salt-}"
		if ((${#files[@]})); then
			find -L "${files[@]}" -type f -print0 | sort -z | xargs -0 sha256sum
		fi
	} | sha256sum | cut -c 1-64
}

# Serialises runs in one tree: two setups at once would write the same files. The lock ends with the process.
lock_tree() {
	mkdir -p "$cache"
	if [[ -z ${NODE_EBPF_TREE_LOCKED-} ]] && have flock; then
		exec 9>"$cache/lock"
		flock 9
		export NODE_EBPF_TREE_LOCKED=1
	fi
}

# announce LABEL COMMAND...: runs the command with its output in a log. Prints one line on success, and the whole log on failure.
announce() {
	local label=$1 log start
	shift
	mkdir -p "$cache/logs"
	log=$cache/logs/${label//[^a-zA-Z0-9]/-}.log
	start=$SECONDS
	printf '  %s … ' "$label"
	if "$@" >"$log" 2>&1 </dev/null 9>&-; then
		printf '%s s\n' "$((SECONDS - start))"
	else
		printf 'failed after %s s\n' "$((SECONDS - start))"
		cat "$log" >&2
		die "$label failed; the output above is also in ${log#"$root"/}"
	fi
}

stamped() {
	[[ -f $cache/stamps/$1 && $(<"$cache/stamps/$1") == "$2" ]]
}

stamp() {
	mkdir -p "$cache/stamps"
	printf '%s' "$2" >"$cache/stamps/$1"
}

# step NAME LABEL HASH OUTPUT COMMAND...: skipped if HASH, of the inputs, is the one that the output was last made from.
step() {
	local name=$1 label=$2 hash=$3 output=$4
	shift 4
	if [[ -e $output ]] && stamped "$name" "$hash"; then
		return 0
	fi
	rm -f "$cache/stamps/$name"
	announce "$label" "$@"
	[[ -e $output ]] || die "$label left no ${output#"$root"/}"
	stamp "$name" "$hash"
}

mirrors() {
	# shellcheck disable=SC2016 # apt's variable
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '!seen[$0]++'
}

# fetch PATH SHA256 FILE REMEDY: downloads a file of Debian's pool from the first of apt's configured mirrors that has it. No host is named
# here. The checksum is checked, whatever the mirror.
fetch() {
	local path=$1 sha256=$2 file=$3 remedy=$4 mirror tried=''
	[[ -x /usr/lib/apt/apt-helper ]] || die "${path##*/} comes with apt, which is not on this machine: install apt, $remedy"
	while read -r mirror; do
		if /usr/lib/apt/apt-helper download-file "${mirror%/}/$path" "$file" "SHA256:$sha256"; then
			return 0
		fi
		tried+=" ${mirror%/}"
	done < <(mirrors)
	die "${path##*/} did not come from apt's mirrors (tried:${tried:- none}): check the network, $remedy"
}

# from_npm PACKAGE@VERSION INTEGRITY FOLDER: downloads and unpacks a package as npm would, and checks npm's checksum. Runs none of its
# scripts.
from_npm() {
	local package=$1 integrity=$2 folder=$3 file have
	mkdir -p "$folder.packed" "$folder"
	npm pack --silent --pack-destination "$folder.packed" "$package" || die "$package did not come from npm's registry"
	file=$(echo "$folder.packed"/*.tgz)
	have=sha512-$(node -p 'require("node:crypto").createHash("sha512").update(require("node:fs").readFileSync(process.argv[1])).digest("base64")' "$file")
	[[ $have == "$integrity" ]] || die "$package is not what it was: it is $have, and $integrity was expected"
	tar -xzf "$file" -C "$folder" --strip-components=1 --no-same-owner
	rm -r "$folder.packed"
}

# Any clang from 11 compiles the BPF programs. Debian 12's is preferred, so that the objects are the same on each machine that has it.
find_clang() {
	local name version
	for name in ${CLANG-} clang-14 clang clang-{22,21,20,19,18,17,16,15,13,12,11}; do
		have "$name" || continue
		version=$("$name" -dumpversion)
		if ((${version%%.*} >= 11)); then
			echo "$name"
			return 0
		fi
	done
	return 1
}

# Prints the LLVM tool that belongs to a clang: llvm-strip-14 for clang-14.
llvm_tool() {
	local suffix=${2#"${2%%-[0-9]*}"}
	if have "$1$suffix"; then
		echo "$1$suffix"
	elif have "$1"; then
		echo "$1"
	else
		"$2" -print-prog-name="$1"
	fi
}

# node_headers EXECUTABLE: prints the folder above include/node/ that node-gyp compiles against. Nothing is downloaded: the headers must be
# installed, as they are with Node's own distributions.
node_headers() {
	local prefix
	for prefix in "${npm_config_nodedir-}" "${1%/*/*}"; do
		if [[ -n $prefix && -f $prefix/include/node/common.gypi ]]; then
			echo "$prefix"
			return 0
		fi
	done
	die "Node's headers (include/node) are not beside $1: install Node from nodejs.org or NodeSource, which bring them, or set npm_config_nodedir"
}

# Execs the command, as root if possible, because loading BPF programs needs root. Without sudo the command reports what it lacks.
as_root() {
	if ((EUID != 0)) && have sudo; then
		exec sudo --preserve-env env "PATH=$PATH" "$@"
	fi
	exec "$@"
}
