// The kernels on the CPU as a library that Python's ctypes loads; pointers are to the CPU's memory.
#include <cstdlib>
#include <cstring>
#include <memory>

#include "../kernels.h"
#include "schedule.h"

extern "C" {

/// `launchDetect` under a schedule, in a workspace that holds noise; the result is a cudaError_t.
int gy_cpu_detect(const cpu_shim::Schedule* schedule, const gaussian_yolo::DetectParams* params, int batch,
                  const void* const* heads, int half, const gaussian_yolo::DetectOutputs* outputs) {
  cpu_shim::setSchedule(*schedule);
  const std::size_t bytes = gaussian_yolo::detectWorkspaceBytes(*params, batch);
  const std::unique_ptr<void, decltype(&std::free)> workspace(std::aligned_alloc(256, bytes), std::free);
  if (workspace != nullptr) {
    std::memset(workspace.get(), 0xa5, bytes);
  }
  return gaussian_yolo::launchDetect(*params, batch, heads, half != 0, *outputs, workspace.get(), nullptr);
}

/// Text of `detectParamsError`, or null.
const char* gy_cpu_params_error(const gaussian_yolo::DetectParams* params) {
  return gaussian_yolo::detectParamsError(*params);
}

std::size_t gy_cpu_workspace_bytes(const gaussian_yolo::DetectParams* params, int batch) {
  return gaussian_yolo::detectWorkspaceBytes(*params, batch);
}

}  // extern "C"
