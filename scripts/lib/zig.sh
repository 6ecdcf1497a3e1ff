# zig for scripts/prebuild and scripts/arm64. Sourced after common.sh, not run.

# get_zig: brings the pinned package from PyPI into the cache, once.
get_zig() {
  zig_home=$cache/zig/$(cksum <"$root/scripts/lib/zig.txt" | cut -d ' ' -f 1)
  export LUTRA_ZIG="$zig_home/ziglang/zig" ZIG_GLOBAL_CACHE_DIR="$cache/zig/cache"
  [ ! -x "$LUTRA_ZIG" ] || return 0
  need python3 python3
  python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip: install it (Debian: apt install python3-pip)"
  rm -rf "$zig_home" "$zig_home.part"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --only-binary :all: --require-hashes \
    --target "$zig_home.part" -r "$root/scripts/lib/zig.txt" >&2 && mv "$zig_home.part" "$zig_home"
}
