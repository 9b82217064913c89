// Processes, a clock, and a seed that decides what happens next: the same seed, the same history.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "fiber.hpp"
#include "unit/support.hpp"

namespace runctl::sim {

using Time = base::Clock::Time;

// Thrown in a process that is killed.
struct Died {};
// Thrown where a promise is found broken; World::failure() tells which.
struct Broken {};

class World;

// A machine's index, of which one process at a time may hold the write lock over several steps.
struct IndexLock {
  const class Process* holder = nullptr;
};

// What runs on a machine: it goes on when the world chooses it, and may be killed at each of its steps. It
// has the machine's clock.
class Process final : public base::Clock {
 public:
  Process(World& world, std::string name, std::function<void(Process&)> body, IndexLock& index_lock,
          Time clock_offset);

  // What the process may do before its next step.
  enum class Next {
    anything_else,
    write_index,  // it goes on only when no other holds the lock
  };
  // Lets others go on. Throws Died.
  void step(Next next);

  // Runs one command in this process: false where it was killed. All else is thrown.
  bool command(const std::function<void()>& body);

  // Holds the index's write lock: what others would wait for in SQLite, they wait for in step().
  class Locked {
   public:
    explicit Locked(Process& process) : process_(process) {
      process.step(Next::write_index);
      process.index_lock_.holder = &process;
    }
    ~Locked() { process_.index_lock_.holder = nullptr; }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

   private:
    Process& process_;
  };

  [[nodiscard]] World& world() const { return world_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  void log(const std::string& line) const;

  [[nodiscard]] Time since_1970() const override;
  [[nodiscard]] Time steady() const override;
  void sleep_until(Time steady) override;

  // Commands of this process during which a store answered with broken bytes.
  bool met_corruption = false;

 private:
  friend class World;
  [[nodiscard]] bool can_go_on() const;

  World& world_;
  const std::string name_;
  IndexLock& index_lock_;
  const Time clock_offset_;
  Next next_ = Next::anything_else;
  Time wakes_{0};
  bool dying_ = false;
  Fiber fiber_;
};

class World {
 public:
  World(std::uint64_t seed, bool traced);

  // 0 up to limit - 1.
  std::size_t below(std::size_t limit) { return random_.below(limit); }
  bool chance(double probability);

  void spawn(const std::string& name, IndexLock& index_lock, Time clock_offset,
             std::function<void(Process&)> body);
  // Until all processes that were spawned have ended.
  void run();

  // Happens at a time that no process chooses.
  void defer(Time delay, std::function<void()> event);

  [[nodiscard]] Time now() const { return now_; }
  // At each step, while there are faults at all.
  double death_rate = 0;
  double switch_rate = 1;  // how often another process goes on than the last one

  // Notes that a promise is broken, and ends the history.
  [[noreturn]] void fail(const std::string& what);
  // Empty where no promise was broken.
  [[nodiscard]] const std::string& failure() const { return failure_; }

  [[nodiscard]] bool traced() const { return traced_; }
  void log(std::string_view who, const std::string& line);
  [[nodiscard]] const std::string& trace() const { return trace_; }

  [[nodiscard]] std::uint64_t steps() const { return steps_; }
  [[nodiscard]] std::uint64_t deaths() const { return deaths_; }

 private:
  friend class Process;
  struct Deferred {
    Time due;
    std::function<void()> event;
  };

  Process* choose();
  void deliver_due();
  bool leap();
  void kill_all();

  tests::Random random_;
  const bool traced_;
  Time now_;
  std::vector<std::unique_ptr<Process>> processes_;
  Process* last_ = nullptr;
  std::vector<Deferred> deferred_;
  std::string failure_;
  std::string trace_;
  std::uint64_t steps_ = 0;
  std::uint64_t deaths_ = 0;
};

}  // namespace runctl::sim
