# Shared by scripts/demo and scripts/test: what must be installed, and one way to name a step. Sourced, not run.

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
case ${LUTRA_CACHE:-.cache} in
  /*) cache=$LUTRA_CACHE ;;
  *) cache=$root/${LUTRA_CACHE:-.cache} ;;
esac
export LUTRA_CACHE="$cache"

die() {
  echo "$(basename "$0"): $1" >&2
  exit 1
}

# need COMMAND PACKAGES: stops with one line when the command is missing.
need() {
  command -v "$1" >/dev/null 2>&1 || die "$1 is missing: install it (Debian: apt install $2)"
}

# provide WHAT PACKAGES…: installs Debian packages where that is possible; elsewhere stops with one line.
provide() {
  missing=$1
  shift
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    (apt-get install -y -q "$@" || { apt-get update -q && apt-get install -y -q "$@"; }) >/dev/null 2>&1 && return 0
  fi
  die "$missing is missing: install it (Debian: apt install $*)"
}

need_build_tools() {
  need node nodejs
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    die "node $(node --version) is too old: install Node.js 20.19 or later (https://nodejs.org)"
  need npm npm
  need python3 python3
  python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip: install it (Debian: apt install python3-pip)"
  need g++ g++
  need cmake cmake
  need make make
}

# Where the server's page is looked at.
need_chromium() {
  [ -x "${LUTRA_CHROMIUM:-/usr/bin/chromium}" ] || provide Chromium chromium
}

# Packages of a lock file are installed again only when the lock has changed.
install_packages() {
  if ! cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock" 2>/dev/null; then
    packages_dir=$1
    shift
    # Not `npm ci`: it refuses a lock without the other platforms' optional binaries, which not every registry mirror has. The versions and hashes are the lock's.
    npm install --no-save --prefix "$packages_dir" --ignore-scripts --no-audit --no-fund --loglevel=error "$@" &&
      cp "$packages_dir/package-lock.json" "$packages_dir/node_modules/.installed-lock"
  fi
}

CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc 2>/dev/null || echo 2)}
export CMAKE_BUILD_PARALLEL_LEVEL

# run_ctest BUILD [flags of ctest]: the summary, and the output of what failed.
run_ctest() {
  build=$1
  shift
  if LUTRA_QNN_LIBRARY="$cache/qnn/libQnnHtp.so" ctest --test-dir "$build" --output-on-failure --parallel "$CMAKE_BUILD_PARALLEL_LEVEL" \
    --timeout 480 "$@" >"$build/ctest.log" 2>&1; then
    tail -n 5 "$build/ctest.log"
  else
    tail -n 200 "$build/ctest.log" >&2
    # Last, because a long log is cut from its beginning: what failed and how.
    grep -E -A 6 ': Failure$|^\[  FAILED  \].* ms\)|ERROR: |WARNING: ThreadSanitizer|runtime error: ' "$build/ctest.log" | tail -n 60 >&2
    return 1
  fi
}

steps=0
started=$(date +%s)

# step NAME COMMAND…: says what runs and how long it took; a failure ends the script.
step() {
  name=$1
  shift
  echo "── $name"
  begun=$(date +%s)
  if ! "$@"; then
    echo "$(basename "$0"): $steps steps passed, 1 failed: $name" >&2
    exit 1
  fi
  steps=$((steps + 1))
  echo "   $name: $(($(date +%s) - begun)) s"
}
