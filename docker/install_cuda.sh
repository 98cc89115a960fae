#!/usr/bin/env bash
# Puts a CUDA compiler and its libraries into /opt/cuda, from PyPI, unless nvcc is there already.
#
# usage: install_cuda.sh PACKAGE==VERSION...
set -euo pipefail
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  [ -e /opt/cuda ] || ln -s /usr/local/cuda /opt/cuda
  exit 0
fi
python3 -m pip install --break-system-packages --no-cache-dir --disable-pip-version-check \
  --target /opt/cuda-packages "$@"
# The packages share one tree, nvidia/cu13, with the versioned names of the libraries only.
ln -s /opt/cuda-packages/nvidia/cu13 /opt/cuda
for library in /opt/cuda/lib/*.so.*; do
  ln -sf "$(basename "$library")" "${library%%.so.*}.so"
done
ln -sfn lib /opt/cuda/lib64
