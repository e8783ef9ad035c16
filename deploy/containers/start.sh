#!/bin/sh
# What a container begins with. The image's machine code is read-only and numba wants a folder that it may write
# to, so the writable one gets links to it: compiling anew would take a minute or two.
set -eu

if [ "${NUMBA_CPU_NAME:-}" = x86-64-v3 ] && ! grep -q -m1 -w avx2 /proc/cpuinfo; then
    echo "error: this image's machine code needs a processor with AVX2 (x86-64-v3), and this one has none;" \
        "build the image with --build-arg CPU=x86-64-v2 --build-arg CPU_FEATURES=" >&2
    exit 78
fi

kernels="$NEXTCLICK_CACHE_DIR/numba"
if ! mkdir -p "$kernels" || ! cp -rsf /opt/nextclick/kernels/. "$kernels"; then
    echo "error: $NEXTCLICK_CACHE_DIR cannot be written to by user $(id -u):$(id -g); mount a volume at /data that" \
        "this user owns (in Kubernetes: fsGroup)" >&2
    exit 78
fi

exec nextclick "$@"
