// A thread's directory, and what its histories have in common there.
#pragma once

#include <string>

#include "connections.hpp"

namespace runctl::sim {

class Workplace {
 public:
  // Makes the directory, and an empty index in it: making one costs more than most histories.
  explicit Workplace(std::string directory);
  // Closes what is open there. The directory stays.
  ~Workplace();
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  [[nodiscard]] std::string operator/(const std::string& name) const { return directory_ + "/" + name; }

  // How indexes are opened from now on; none may be open.
  void begin(Connections use);

  // The path of an index that is not there.
  [[nodiscard]] std::string no_index(const std::string& name) const;
  // Of an empty one, the same each time to the last byte.
  [[nodiscard]] std::string empty_index(const std::string& name) const;

 private:
  const std::string directory_;
  std::string empty_;
  Connections use_ = Connections::fresh;
};

}  // namespace runctl::sim
