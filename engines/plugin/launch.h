// How kernels are launched, share memory and wait for each other: by CUDA, or on the CPU for tests.
#pragma once

#ifdef GAUSSIAN_YOLO_CPU_SHIM
#include "cpu_shim/cuda_on_cpu.h"
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/// Run `kernel(arguments...)` on a grid.
#define GY_LAUNCH(grid, block, stream, kernel, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
/// Declare a variable that the threads of a block share; array types need a name of their own.
#define GY_SHARED(Type, name) __shared__ Type name
/// Wait for all threads of the block. The number names the place, for tests that leave it out.
#define GY_SYNC(place) __syncthreads()
#endif
