#include "flow/bench_meter.hpp"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <span>
#include <string>

namespace runctl::flow {

// proc(5): /proc/PID/clear_refs, /proc/PID/status.
bool forget_peak_memory() {
  ::malloc_trim(0);  // what the step before has freed is not this one's
  std::ofstream file("/proc/self/clear_refs");
  file << "5\n" << std::flush;
  return file.good();
}

std::uint64_t peak_memory() {
  std::ifstream file("/proc/self/status");
  std::string word;
  while (file >> word) {
    std::uint64_t kibibytes = 0;
    if (word == "VmHWM:" && file >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

store::Traffic traffic_between(const store::Traffic& before, const store::Traffic& after) {
  return {after.requests - before.requests, after.bytes_read - before.bytes_read,
          after.bytes_written - before.bytes_written, after.retries - before.retries};
}

void StepMeter::begin() {
  forget_peak_memory();
  begun_at_ = samples_.size();
}

void StepMeter::end(const store::Traffic& spent) {
  step_.requests += spent.requests;
  step_.bytes_read += spent.bytes_read;
  step_.bytes_written += spent.bytes_written;
  step_.retries += spent.retries;
  step_.peak_memory = std::max(step_.peak_memory, peak_memory());
  medians_.push_back(summarize(std::span(samples_).subspan(begun_at_)).median);
}

void StepMeter::add(Clock::duration time) { samples_.push_back(std::chrono::duration<double>(time).count()); }

BenchStep StepMeter::result() const {
  BenchStep step = step_;
  step.operations = samples_.size();
  step.time = summarize(samples_);
  step.seconds = side_by_side_ > 0 ? side_by_side_ : std::accumulate(samples_.begin(), samples_.end(), 0.0);
  step.noise = noise_of(medians_);
  return step;
}

}  // namespace runctl::flow
