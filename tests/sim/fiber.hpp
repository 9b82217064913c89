// One thread of control among several on one thread of the machine: it runs until it pauses, and never
// otherwise, so what happens in which order is decided by whoever resumes.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <functional>

namespace runctl::sim {

class Fiber {
 public:
  // `body` must not throw.
  explicit Fiber(std::function<void()> body);
  // The body must have ended.
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs the body until it pauses or ends.
  void resume();
  // From the body: goes on behind resume().
  void pause();
  [[nodiscard]] bool done() const { return done_; }

 private:
  // What the C++ runtime keeps of a thread's exceptions (Itanium C++ ABI, exception handling, 2.2.2). A fiber
  // may pause while it handles one, so each has its own.
  struct Exceptions {
    void* caught = nullptr;
    unsigned int uncaught = 0;
  };
  static void start();
  void exchange_exceptions();

  const std::function<void()> body_;
  void* const stack_;
  ucontext_t here_{};
  ucontext_t there_{};
  Exceptions exceptions_;
  bool done_ = false;
};

}  // namespace runctl::sim
