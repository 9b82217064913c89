// What SIGINT and SIGTERM do besides ending the program.
#pragma once

#include <stop_token>
#include <string>
#include <thread>

#include "base/file.hpp"

namespace runctl::cmd {

// While it lives, the first of these signals asks the command to come to an end; the next ends the program at
// once. At most one at a time. A signal that is ignored from the start stays so.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }
  // The signal that came; 0 where none did.
  [[nodiscard]] static int signal();
  // Whether one came so long ago that what a store has not answered since is given up.
  [[nodiscard]] static bool is_overdue();

 private:
  void watch();

  base::FileDescriptor wake_;
  std::stop_source source_;
  std::thread thread_;  // last: it uses all of the above
};

// While it lives, a signal that ends the program removes the file first.
class RemovedOnSignal {
 public:
  explicit RemovedOnSignal(std::string path);
  ~RemovedOnSignal();
  RemovedOnSignal(const RemovedOnSignal&) = delete;
  RemovedOnSignal& operator=(const RemovedOnSignal&) = delete;

 private:
  const std::string path_;
};

}  // namespace runctl::cmd
