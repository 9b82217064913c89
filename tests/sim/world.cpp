#include "world.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/time.hpp"

namespace runctl::sim {

namespace {

// 2024-07-12T21:00:00Z.
constexpr Time k_begin = std::chrono::seconds(1'720'818'000);
// More than any history has: it has no end.
constexpr std::uint64_t k_max_steps = 200'000;

}  // namespace

Process::Process(World& world, std::string name, std::function<void(Process&)> body, IndexLock& index_lock,
                 Time clock_offset)
    : world_(world),
      name_(std::move(name)),
      index_lock_(index_lock),
      clock_offset_(clock_offset),
      fiber_([this, body = std::move(body)] {
        try {
          body(*this);
        } catch (const Died&) {
          log("is gone");
        } catch (const Broken&) {
          log("found a promise broken");
        } catch (const std::exception& error) {
          if (world_.failure_.empty())
            world_.failure_ = fmt::format("{}: an exception that nobody expected: {}", name_, error.what());
        }
      }) {}

void Process::log(const std::string& line) const { world_.log(name_, line); }

bool Process::can_go_on() const {
  if (fiber_.done() || wakes_ > world_.now_) return false;
  return next_ == Next::anything_else || index_lock_.holder == nullptr || index_lock_.holder == this;
}

void Process::step(Next next) {
  if (dying_) throw Died();
  next_ = next;
  fiber_.pause();
  if (!dying_ && world_.chance(world_.death_rate)) {
    ++world_.deaths_;
    log("is killed");
    dying_ = true;
  }
  if (dying_) throw Died();
}

bool Process::command(const std::function<void()>& body) {
  met_corruption = false;
  try {
    body();
    return true;
  } catch (const Died&) {
    if (!world_.failure_.empty()) throw;
    dying_ = false;
    return false;
  }
}

Time Process::since_1970() const { return world_.now_ + clock_offset_; }
Time Process::steady() const { return world_.now_; }

void Process::sleep_until(Time steady) {
  log(fmt::format("waits {} ms", std::chrono::ceil<std::chrono::milliseconds>(steady - world_.now_).count()));
  wakes_ = steady;
  step(Next::write_index);
}

World::World(std::uint64_t seed, bool traced) : random_(seed), traced_(traced), now_(k_begin) {}

bool World::chance(double probability) {
  constexpr std::size_t k_parts = 1U << 24;
  return probability > 0 && static_cast<double>(below(k_parts)) < probability * k_parts;
}

void World::spawn(const std::string& name, IndexLock& index_lock, Time clock_offset,
                  std::function<void(Process&)> body) {
  processes_.push_back(std::make_unique<Process>(*this, name, std::move(body), index_lock, clock_offset));
}

void World::defer(Time delay, std::function<void()> event) {
  deferred_.push_back({now_ + delay, std::move(event)});
}

void World::deliver_due() {
  for (std::size_t i = 0; i < deferred_.size();) {
    if (deferred_[i].due > now_) {
      ++i;
      continue;
    }
    const Deferred due = std::move(deferred_[i]);
    deferred_.erase(deferred_.begin() + static_cast<std::ptrdiff_t>(i));
    due.event();
  }
}

Process* World::choose() {
  if (last_ != nullptr && last_->can_go_on() && !chance(switch_rate)) return last_;
  std::vector<Process*> able;
  for (const auto& process : processes_) {
    if (process->can_go_on()) able.push_back(process.get());
  }
  last_ = able.empty() ? nullptr : able[below(able.size())];
  return last_;
}

// To the next moment at which something happens by itself; false where nothing will.
bool World::leap() {
  Time next = Time::max();
  for (const auto& process : processes_) {
    if (!process->fiber_.done() && process->wakes_ > now_) next = std::min(next, process->wakes_);
  }
  for (const Deferred& deferred : deferred_) next = std::min(next, deferred.due);
  if (next == Time::max()) return false;
  now_ = next;
  return true;
}

// Processes have what others wait for, so each is run to its end.
void World::kill_all() {
  for (const auto& process : processes_) {
    process->dying_ = true;
    while (!process->fiber_.done()) process->fiber_.resume();
  }
}

void World::run() {
  const auto is_done = [](const auto& process) { return process->fiber_.done(); };
  while (failure_.empty() && !std::all_of(processes_.begin(), processes_.end(), is_done)) {
    // Mostly a few milliseconds pass, sometimes a second.
    now_ += std::chrono::microseconds(chance(0.05) ? below(900'000) : below(5'000));
    deliver_due();
    Process* const process = choose();
    if (process != nullptr) {
      process->fiber_.resume();
    } else if (!leap()) {
      failure_ = "every process waits for another";
    }
    if (++steps_ > k_max_steps) failure_ = "the history has no end";
  }
  kill_all();
  processes_.clear();
  last_ = nullptr;
}

void World::fail(const std::string& what) {
  if (failure_.empty()) {
    failure_ = what;
    log("model", "BROKEN: " + what);
  }
  throw Broken();
}

void World::log(std::string_view who, const std::string& line) {
  if (!traced_) return;
  const auto since = std::chrono::duration_cast<std::chrono::microseconds>(now_ - k_begin).count();
  trace_ += fmt::format("{:>4}.{:06} {:<10} {}\n", since / 1'000'000, since % 1'000'000, who, line);
}

}  // namespace runctl::sim
