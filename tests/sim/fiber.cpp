#include "fiber.hpp"

#include <cxxabi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
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

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)), stack_(stacks.take()) {
  ::getcontext(&here_);
  here_.uc_stack.ss_sp = stack_;
  here_.uc_stack.ss_size = k_stack;
  here_.uc_link = &there_;
  const auto self = reinterpret_cast<std::uintptr_t>(this);
  ::makecontext(&here_, reinterpret_cast<void (*)()>(&Fiber::start), 2, static_cast<unsigned int>(self >> 32),
                static_cast<unsigned int>(self));
}

Fiber::~Fiber() { stacks.give_back(stack_); }

// makecontext(3) passes numbers of 32 bits.
void Fiber::start(unsigned int high, unsigned int low) {
  auto* const self = reinterpret_cast<Fiber*>((std::uintptr_t{high} << 32) | low);
  self->body_();
  self->done_ = true;
}

void Fiber::exchange_exceptions() {
  std::swap(exceptions_, *reinterpret_cast<Exceptions*>(__cxxabiv1::__cxa_get_globals()));
}

void Fiber::resume() {
  exchange_exceptions();
  ::swapcontext(&there_, &here_);
  exchange_exceptions();
}

void Fiber::pause() { ::swapcontext(&here_, &there_); }

}  // namespace runctl::sim
