#!/usr/bin/env bash
# Sees to it that what is needed is installed: `setup.sh build` for the compilers, `setup.sh python` for Python with venv,
# `setup.sh node` for Node.js with npm.
# On Debian and Ubuntu the missing packages are installed; elsewhere they are named. Asks nothing.
set -euo pipefail

fail() {
    echo "error: $*" >&2
    exit 1
}

# True if one of the arguments, patterns that the shell has expanded, is a file.
any_file() {
    local file
    for file in "$@"; do
        [ -e "$file" ] && return 0
    done
    return 1
}

# libclang reads RocksDB's header while the bindings are generated.
has_libclang() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then
        any_file "$LIBCLANG_PATH"/libclang* || any_file "$LIBCLANG_PATH"
    elif [ "$(uname)" = Darwin ]; then
        any_file /Library/Developer/CommandLineTools/usr/lib/libclang.dylib \
            /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib/libclang.dylib \
            /usr/local/opt/llvm*/lib/libclang.dylib || command -v llvm-config >/dev/null
    else
        # The library alone does not do: it needs its own stddef.h.
        [ -n "${BINDGEN_EXTRA_CLANG_ARGS:-}" ] ||
            any_file /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h || return 1
        any_file /usr/lib/llvm-*/lib/libclang*.so* /usr/lib*/libclang*.so* /usr/lib/*/libclang*.so* /usr/local/lib*/libclang*.so*
    fi
}

has_venv() {
    # Debian ships venv without the part that puts pip into it.
    command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null
}

has_node() {
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null
}

# What is missing, as Debian names it.
packages=()
# What is missing, in words.
names=()
need() {
    packages+=("$1")
    names+=("$2")
}

case "${1:-build}" in
build)
    command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs"
    { command -v cc && command -v c++; } >/dev/null || need g++ "a C++20 compiler (cc and c++)"
    has_libclang || need libclang-dev "libclang with its headers"
    if [ "$(uname)" = Darwin ] && [ ${#names[@]} -gt 0 ]; then
        fail "compilers are missing: run xcode-select --install"
    fi
    ;;
python)
    has_venv || need python3-venv "Python 3 with venv"
    ;;
node)
    # Debian's may be older than that, so it is not installed from there.
    has_node || fail "please install: Node.js 20 or later with npm"
    ;;
*) fail "usage: setup.sh build|python|node" ;;
esac
[ ${#packages[@]} -eq 0 ] && exit 0

list=$(printf ', %s' "${names[@]}")
list=${list:2}
command -v apt-get >/dev/null || fail "please install: $list"
if [ "$(id -u)" -eq 0 ]; then
    as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n env)
else
    fail "please install: $list (sudo apt-get install ${packages[*]})"
fi
echo "installing $list (${packages[*]})"
apt=("${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
# The package lists are fetched only where they are missing or too old to find the packages.
"${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 || {
    "${apt[@]}" update
    "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null
} || fail "could not install ${packages[*]}"
