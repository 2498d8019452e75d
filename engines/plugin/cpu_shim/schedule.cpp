#include "schedule.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <pthread.h>
#include <ucontext.h>

#include "cuda_on_cpu.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace cpu_shim {
namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
constexpr unsigned kConcurrentBlocks = 2;  // enough for a race between blocks to show

Schedule schedule = {};

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "cpu_shim: %s\n", what);
  std::abort();
}

Index indexAt(unsigned flat, const dim3& size) {
  return {flat % size.x, flat / size.x % size.y, flat / (size.x * size.y)};
}

unsigned volume(const dim3& size) { return size.x * size.y * size.z; }

void fillWithNoise(SharedMemory& shared) { std::memset(&shared, 0xa5, sizeof shared); }

std::vector<unsigned> order(unsigned count, std::mt19937_64& random) {
  std::vector<unsigned> indices(count);
  for (unsigned index = 0; index < count; ++index) {
    indices[index] = index;
  }
  if (schedule.seed != 0) {
    for (unsigned left = count; left > 1; --left) {
      std::swap(indices[left - 1], indices[random() % left]);
    }
  }
  return indices;
}

/// A stack that runs threads of a block one after the other, until one of them waits and keeps it.
struct Fiber {
  ucontext_t context = {};
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  Place place = {};
  int waitsAt = 0;  // number of the sync, 0 where its threads have ended
};

/// The threads of one block on fibers.
class FiberBlock {
 public:
  void run(const dim3& size, const Index& block, const std::function<void()>& thread, std::mt19937_64& random) {
    fillWithNoise(shared_);
    kernel_ = &thread;
    size_ = &size;
    block_ = block;
    order_ = order(volume(size), random);
    next_ = 0;
    std::vector<Fiber*> waiting;
    while (next_ < order_.size()) {
      Fiber* fiber = idleFiber();
      resume(*fiber);
      (fiber->waitsAt != 0 ? waiting : idle_).push_back(fiber);
    }
    while (!waiting.empty()) {
      if (waiting.size() != order_.size()) {
        fail("some threads of a block ended while others wait");
      }
      std::vector<Fiber*> still;
      const int number = waiting.front()->waitsAt;
      for (const unsigned index : order(static_cast<unsigned>(waiting.size()), random)) {
        Fiber* fiber = waiting[index];
        if (fiber->waitsAt != number) {
          fail("threads of a block wait at different places");
        }
        resume(*fiber);
        (fiber->waitsAt != 0 ? still : idle_).push_back(fiber);
      }
      waiting = std::move(still);
    }
  }

  void wait(int number) {
    Fiber& fiber = *current_;
    fiber.waitsAt = number;
    fiber.place = cpu_shim::place;
    leave(fiber);
    cpu_shim::place = fiber.place;
  }

 private:
  Fiber* idleFiber() {
    if (idle_.empty()) {
      addFiber();
    }
    Fiber* fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }

  void addFiber() {
    fibers_.push_back(std::make_unique<Fiber>());
    idle_.push_back(fibers_.back().get());
    ucontext_t& context = fibers_.back()->context;
    getcontext(&context);
    context.uc_stack.ss_sp = fibers_.back()->stack.get();
    context.uc_stack.ss_size = kStackBytes;
    makecontext(&context, enter, 0);
  }

  static void enter();

  void work() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &mainStack_, &mainStackBytes_);
#endif
    for (;;) {
      Fiber& fiber = *current_;
      while (next_ < order_.size()) {
        cpu_shim::place = {indexAt(order_[next_++], *size_), block_, {size_->x, size_->y, size_->z}, &shared_};
        (*kernel_)();
      }
      fiber.waitsAt = 0;
      leave(fiber);
    }
  }

  void resume(Fiber& fiber) {
    current_ = &fiber;
#ifdef __SANITIZE_ADDRESS__
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack.get(), kStackBytes);
#endif
    swapcontext(&main_, &fiber.context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  void leave(Fiber& fiber) {
#ifdef __SANITIZE_ADDRESS__
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, mainStack_, mainStackBytes_);
#endif
    swapcontext(&fiber.context, &main_);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, &mainStack_, &mainStackBytes_);
#endif
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  ucontext_t main_ = {};
  Fiber* current_ = nullptr;
  SharedMemory shared_ = {};
  const std::function<void()>* kernel_ = nullptr;
  const dim3* size_ = nullptr;
  Index block_ = {};
  std::vector<unsigned> order_;
  std::size_t next_ = 0;
#ifdef __SANITIZE_ADDRESS__
  const void* mainStack_ = nullptr;
  std::size_t mainStackBytes_ = 0;
#endif
};

FiberBlock& fibers() {
  static FiberBlock block;
  return block;
}

void FiberBlock::enter() { fibers().work(); }

thread_local pthread_barrier_t* barrier = nullptr;

/// The threads of the blocks `first`, `first + step` ... on as many threads of the system.
class ThreadTeam {
 public:
  ThreadTeam(const dim3& grid, const dim3& size, const std::vector<unsigned>& blocks, unsigned first, unsigned step,
             const std::function<void()>& kernel) {
    pthread_barrier_init(&barrier_, nullptr, volume(size));
    for (unsigned thread = 0; thread < volume(size); ++thread) {
      threads_.emplace_back([=, &grid, &size, &blocks, &kernel] {
        barrier = &barrier_;
        for (std::size_t index = first; index < blocks.size(); index += step) {
          if (thread == 0) {
            fillWithNoise(shared_);
          }
          pthread_barrier_wait(&barrier_);
          place = {indexAt(thread, size), indexAt(blocks[index], grid), {size.x, size.y, size.z}, &shared_};
          kernel();
          pthread_barrier_wait(&barrier_);
        }
      });
    }
  }
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;
  ~ThreadTeam() {
    for (std::thread& thread : threads_) {
      thread.join();
    }
    pthread_barrier_destroy(&barrier_);
  }

 private:
  pthread_barrier_t barrier_ = {};
  SharedMemory shared_ = {};
  std::vector<std::thread> threads_;
};

}  // namespace

void setSchedule(const Schedule& chosen) { schedule = chosen; }

void launch(dim3 grid, dim3 block, const std::function<void()>& thread) {
  std::mt19937_64 random(schedule.seed);
  const std::vector<unsigned> blocks = order(volume(grid), random);
  if (schedule.mode == static_cast<int>(Mode::kFibers)) {
    for (const unsigned index : blocks) {
      fibers().run(block, indexAt(index, grid), thread, random);
    }
    return;
  }
  std::vector<std::unique_ptr<ThreadTeam>> teams;
  for (unsigned team = 0; team < kConcurrentBlocks && team < blocks.size(); ++team) {
    teams.push_back(std::make_unique<ThreadTeam>(grid, block, blocks, team, kConcurrentBlocks, thread));
  }
}

void sync(int number) {
  if (number == schedule.droppedSync) {
    return;
  }
  if (schedule.mode == static_cast<int>(Mode::kFibers)) {
    fibers().wait(number);
  } else {
    pthread_barrier_wait(barrier);
  }
}

}  // namespace cpu_shim
