// What nearly every command needs: the settings, the store, the index.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "index/index.hpp"
#include "settings.hpp"
#include "store/object_store.hpp"

namespace runctl::cmd {

class Session {
 public:
  explicit Session(const GlobalFlags& flags);

  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] store::ObjectStore& store() { return *store_; }
  [[nodiscard]] const std::string& index_path() const { return index_path_; }

  // Made where it is absent. Each call opens it anew: an index belongs to one thread.
  [[nodiscard]] index::Index index_for_writing() const;
  // Absent where there is none yet.
  [[nodiscard]] std::optional<index::Index> index_for_reading() const;

  // With -v: what the store was asked for.
  void report_traffic() const;

 private:
  Settings settings_;
  std::unique_ptr<store::ObjectStore> store_;
  std::string index_path_;
};

}  // namespace runctl::cmd
