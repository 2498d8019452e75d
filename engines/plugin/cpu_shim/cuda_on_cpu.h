// What the kernels use of CUDA, for a C++ compiler on the CPU: tests run the very kernels without a GPU.
//
// Shared memory is filled with noise before each block, as a GPU leaves in it what was there. Warps do not exist: no
// kernel uses an intrinsic that needs one.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>

// Names are CUDA's own.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)
#define __host__
#define __device__
#define __global__

struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// A real type is needed, because the interface passes pointers to it.
struct CpuStream;
using cudaStream_t = CpuStream*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

namespace cpu_shim {

constexpr std::size_t kSharedVariables = 16;  // that all kernels together declare
constexpr std::size_t kSharedBytes = 8192;    // of one variable

struct SharedMemory {
  alignas(16) unsigned char variables[kSharedVariables][kSharedBytes];
};

struct Index {
  unsigned x, y, z;
};

/// Where a kernel's thread stands.
struct Place {
  Index thread;
  Index block;
  Index blockSize;
  SharedMemory* shared;
};

inline thread_local Place place = {};

/// Run `thread` for each thread of each block, under the schedule that `setSchedule` chose.
void launch(dim3 grid, dim3 block, const std::function<void()>& thread);

/// `__syncthreads()`, unless the schedule leaves this one out.
void sync(int number);

template <typename Type, std::size_t kVariable>
Type& sharedVariable() {
  static_assert(kVariable < kSharedVariables && sizeof(Type) <= kSharedBytes, "make SharedMemory larger");
  return *reinterpret_cast<Type*>(place.shared->variables[kVariable]);
}

}  // namespace cpu_shim

#define threadIdx (::cpu_shim::place.thread)
#define blockIdx (::cpu_shim::place.block)
#define blockDim (::cpu_shim::place.blockSize)

#define GY_LAUNCH(grid, block, stream, kernel, ...) \
  (static_cast<void>(stream), ::cpu_shim::launch(grid, block, [&] { kernel(__VA_ARGS__); }))
#define GY_SHARED(Type, name) Type& name = ::cpu_shim::sharedVariable<Type, __COUNTER__>()
#define GY_SYNC(number) ::cpu_shim::sync(number)

// Relaxed, as CUDA's: they order nothing else.
template <typename T>
T atomicAdd(T* target, T value) {
  return __atomic_fetch_add(target, value, __ATOMIC_RELAXED);
}
template <typename T>
T atomicOr(T* target, T value) {
  return __atomic_fetch_or(target, value, __ATOMIC_RELAXED);
}

inline std::uint32_t __float_as_uint(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __uint_as_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }

struct __half {
  std::uint16_t bits;
};

inline float __half2float(__half value) {
  const std::uint32_t sign = (value.bits & 0x8000U) << 16U;
  const std::uint32_t exponent = (value.bits >> 10U) & 0x1fU;
  const std::uint32_t mantissa = value.bits & 0x3ffU;
  if (exponent == 0) {  // a multiple of 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 0x1fU ? 0xffU : exponent + 112U;
  return __uint_as_float(sign | (wide << 23U) | (mantissa << 13U));
}

/// To the nearest, of two the even.
inline __half __float2half_rn(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16U) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  std::uint32_t half = 0;
  if (magnitude > 0x7f800000U) {
    half = 0x7fffU;  // NaN
  } else if (magnitude >= 0x477ff000U) {
    half = 0x7c00U;  // 65520 and above is infinity
  } else if (magnitude >= 0x38800000U) {
    half = ((magnitude + 0xfffU + ((magnitude >> 13U) & 1U)) >> 13U) - (112U << 10U);
  } else {  // a multiple of 2^-24: adding a half makes the float's own rounding do it
    half = __float_as_uint(__uint_as_float(magnitude) + 0.5F) - __float_as_uint(0.5F);
  }
  return {static_cast<std::uint16_t>(sign | half)};
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
