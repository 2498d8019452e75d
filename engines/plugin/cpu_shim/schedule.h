// How the CPU runs the threads of a kernel.
#pragma once

#include <cstdint>

namespace cpu_shim {

enum class Mode : int {
  kFibers = 0,   // one thread of the system; deterministic, and as fast as a loop
  kThreads = 1,  // a thread of the system for each of two blocks' threads, for ThreadSanitizer
};

struct Schedule {
  int mode;            // a Mode
  int droppedSync;     // number of the GY_SYNC to leave out, 0 for none
  std::uint64_t seed;  // of the order of blocks, and of threads between two waits; 0 is by index
};

void setSchedule(const Schedule& schedule);

}  // namespace cpu_shim
