// The one vocabulary of failure: what kind, and one line for a person.
#pragma once

#include <stdexcept>
#include <string>

namespace runctl::base {

// The kind alone decides the exit status (see exit_status).
enum class ErrorKind {
  usage,        // wrong flags, settings or configuration
  input,        // input that cannot be read as runs at all
  not_found,    // something that was asked for does not exist
  corrupt,      // stored data is not what was stored
  io,           // the local system failed: disk, permission, memory
  remote,       // the store or the network failed
  interrupted,  // the user asked to stop
};

// Thrown where the fault is known; caught in main and at a worker thread's door. `what()` reads
// "WHAT: WHY", one line, without the program's name and without secrets.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  [[nodiscard]] ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// The exit status that a kind stands for (runctl(1), EXIT STATUS).
int exit_status(ErrorKind kind);

// Throws Error(io) saying "WHAT: strerror(error_number)".
[[noreturn]] void throw_errno(const std::string& what, int error_number);

}  // namespace runctl::base
