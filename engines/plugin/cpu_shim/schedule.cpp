#include "schedule.h"

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
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

constexpr std::size_t kStackBytes = std::size_t{128} * 1024;
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
    Fiber& fiber = current();
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
      Fiber& fiber = current();
      while (next_ < order_.size()) {
        cpu_shim::place = {indexAt(order_[next_++], *size_), block_, {size_->x, size_->y, size_->z}, &shared_};
        (*kernel_)();
      }
      fiber.waitsAt = 0;
      leave(fiber);
    }
  }

  Fiber& current() const {
    if (current_ == nullptr) {
      fail("a thread waits outside of a launch");
    }
    return *current_;
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

/// The blocks `first`, `first + kConcurrentBlocks` ... of a launch, and what their threads share.
struct Team {
  const dim3* grid;
  const dim3* size;
  const std::vector<unsigned>* blocks;
  unsigned first;
  const std::function<void()>* kernel;
  pthread_barrier_t barrier;
  SharedMemory shared;
};

thread_local Team* team = nullptr;

void runTeamThread(Team& joined, unsigned thread) {
  team = &joined;
  for (std::size_t index = joined.first; index < joined.blocks->size(); index += kConcurrentBlocks) {
    if (thread == 0) {
      fillWithNoise(joined.shared);
    }
    pthread_barrier_wait(&joined.barrier);
    const dim3& size = *joined.size;
    place = {indexAt(thread, size),
             indexAt((*joined.blocks)[index], *joined.grid),
             {size.x, size.y, size.z},
             &joined.shared};
    (*joined.kernel)();
    pthread_barrier_wait(&joined.barrier);
  }
}

/// Threads of the system that are kept from launch to launch; they cost more to make than most kernels to run.
class ThreadPool {
 public:
  /// Runs `work(0)` to `work(count - 1)`, each on a thread of its own, and waits for them.
  void run(unsigned count, const std::function<void(unsigned)>& work) {
    std::unique_lock<std::mutex> lock(mutex_);
    work_ = &work;
    wanted_ = count;
    running_ = count;
    ++launch_;
    while (threads_.size() < count) {
      threads_.emplace_back([this, number = static_cast<unsigned>(threads_.size())] { serve(number); });
    }
    started_.notify_all();
    ended_.wait(lock, [this] { return running_ == 0; });
  }

  ThreadPool() = default;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    started_.notify_all();
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

 private:
  void serve(unsigned number) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (std::uint64_t seen = 0;;) {
      started_.wait(lock, [&] { return closed_ || (launch_ != seen && number < wanted_); });
      if (closed_) {
        return;
      }
      seen = launch_;
      const std::function<void(unsigned)>& work = *work_;
      lock.unlock();
      work(number);
      lock.lock();
      if (--running_ == 0) {
        ended_.notify_one();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable started_;
  std::condition_variable ended_;
  std::vector<std::thread> threads_;
  const std::function<void(unsigned)>* work_ = nullptr;
  unsigned wanted_ = 0;
  unsigned running_ = 0;
  std::uint64_t launch_ = 0;
  bool closed_ = false;
};

void runOnThreads(const dim3& grid, const dim3& block, const std::vector<unsigned>& blocks,
                  const std::function<void()>& kernel) {
  static ThreadPool pool;
  const unsigned perBlock = volume(block);
  std::vector<std::unique_ptr<Team>> teams;
  for (unsigned first = 0; first < kConcurrentBlocks && first < blocks.size(); ++first) {
    teams.emplace_back(new Team{&grid, &block, &blocks, first, &kernel, {}, {}});
    pthread_barrier_init(&teams.back()->barrier, nullptr, perBlock);
  }
  pool.run(static_cast<unsigned>(teams.size()) * perBlock,
           [&](unsigned number) { runTeamThread(*teams[number / perBlock], number % perBlock); });
  for (const std::unique_ptr<Team>& ended : teams) {
    pthread_barrier_destroy(&ended->barrier);
  }
}

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
  runOnThreads(grid, block, blocks, thread);
}

void sync(int number) {
  if (number == schedule.droppedSync) {
    return;
  }
  if (schedule.mode == static_cast<int>(Mode::kFibers)) {
    fibers().wait(number);
  } else {
    pthread_barrier_wait(&team->barrier);
  }
}

}  // namespace cpu_shim
