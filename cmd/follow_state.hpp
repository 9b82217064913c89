// How far `ingest --follow` has come in a file: a small file of its own below the state directory.
#pragma once

#include <optional>
#include <string>

#include "flow/followed_file.hpp"

namespace runctl::cmd {

class FollowState {
 public:
  // Of one file that goes to one store.
  FollowState(const std::string& store_url, const std::string& file);

  // Where the last reading has come to; absent where there was none. What cannot be understood counts as
  // none: the file is then read again, and its runs are found to be stored.
  [[nodiscard]] std::optional<flow::FilePlace> load() const;

  // Durable on return; throws base::Error(io).
  void save(const flow::FilePlace& place) const;

 private:
  std::string store_url_;
  std::string file_;  // its absolute path
  std::string path_;
};

}  // namespace runctl::cmd
