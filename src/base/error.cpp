#include "base/error.hpp"

#include <cstring>

namespace runctl::base {

int exit_status(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::not_found:
      return 1;
    case ErrorKind::usage:
      return 2;
    case ErrorKind::input:
      return 3;
    case ErrorKind::io:
    case ErrorKind::remote:
      return 4;
    case ErrorKind::corrupt:
      return 5;
    case ErrorKind::interrupted:
      return 130;
  }
  return 4;
}

void throw_errno(const std::string& what, int error_number) {
  throw Error(ErrorKind::io, what + ": " + std::strerror(error_number));
}

}  // namespace runctl::base
