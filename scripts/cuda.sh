#!/usr/bin/env bash
# Builds the binary for NVIDIA GPUs, release/twofold-cuda of the target directory, on machines with or without one. Where nvcc is
# not installed, CUDA's toolkit comes into the cache. CUDA_COMPUTE_CAP says what it is built for [default: the GPU here, else
# 80: A100 and everything after it]; FEATURES=flash-attention adds kernels that take an hour to compile, and need git and GitHub.
# usage: scripts/cuda.sh CACHE-DIRECTORY
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
. scripts/venv.sh

if ! command -v nvcc >/dev/null && [ ! -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
    make_venv "$cache/cuda" scripts/requirements-cuda.txt
    toolkit=$(echo "$cache"/cuda/lib/python3*/site-packages/nvidia/cu13)
    # The packages are laid out for Python: no links for linkers, nothing executable.
    chmod +x "$toolkit"/bin/* "$toolkit"/nvvm/bin/*
    [ -e "$toolkit/lib64" ] || ln -s lib "$toolkit/lib64"
    for library in "$toolkit"/lib/lib*.so.*; do
        link=${library%%.so.*}.so
        [ -e "$link" ] || ln -s "$(basename "$library")" "$link"
    done
    # The driver's library is not among them. Its symbols are enough to link with.
    mkdir -p "$toolkit/lib/stubs"
    grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$toolkit/include/cuda.h" | sort -u | sed 's/.*/void &(void) {}/' |
        cc -x c -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$toolkit/lib/stubs/libcuda.so" -
    export CUDA_HOME=$toolkit CUDA_PATH=$toolkit PATH=$toolkit/bin:$PATH
    export LIBRARY_PATH=$toolkit/lib:$toolkit/lib/stubs${LIBRARY_PATH:+:$LIBRARY_PATH}
fi
nvidia-smi >/dev/null 2>&1 || export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}

${CARGO:-cargo} build --release --locked -p twofold-server --features "cuda,${FEATURES:-}"
# The name is that of the build for the CPU, which tests and benchmarks use.
mv "${CARGO_TARGET_DIR:?}/release/twofold" "$CARGO_TARGET_DIR/release/twofold-cuda"
echo "built $CARGO_TARGET_DIR/release/twofold-cuda"
