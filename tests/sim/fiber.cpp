#include "fiber.hpp"

#include <cxxabi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <utility>
#include <vector>

namespace runctl::sim {

namespace {

constexpr std::size_t k_stack = 512U << 10;

// Stacks are used again: to map one costs more than a history's other fibers do.
class Stacks {
 public:
  ~Stacks() {
    for (void* const stack : free_) ::munmap(stack, k_stack);
  }

  void* take() {
    if (!free_.empty()) {
      void* const stack = free_.back();
      free_.pop_back();
      return stack;
    }
    void* const stack =
        ::mmap(nullptr, k_stack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) throw std::bad_alloc();
    // Whoever runs over the end is stopped there.
    ::mprotect(stack, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), PROT_NONE);
    return stack;
  }
  void give_back(void* stack) { free_.push_back(stack); }

 private:
  std::vector<void*> free_;
};

thread_local Stacks stacks;
// Passed to start(), since makecontext(3) passes nothing but numbers of 32 bits.
thread_local Fiber* starting = nullptr;

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)), stack_(stacks.take()) {
  ::getcontext(&here_);
  here_.uc_stack.ss_sp = stack_;
  here_.uc_stack.ss_size = k_stack;
  here_.uc_link = &there_;
  ::makecontext(&here_, &Fiber::start, 0);
}

Fiber::~Fiber() { stacks.give_back(stack_); }

void Fiber::start() {
  Fiber* const self = starting;
  self->body_();
  self->done_ = true;
}

void Fiber::exchange_exceptions() {
  std::swap(exceptions_, *reinterpret_cast<Exceptions*>(__cxxabiv1::__cxa_get_globals()));
}

void Fiber::resume() {
  starting = this;
  exchange_exceptions();
  ::swapcontext(&there_, &here_);
  exchange_exceptions();
}

void Fiber::pause() { ::swapcontext(&here_, &there_); }

}  // namespace runctl::sim
