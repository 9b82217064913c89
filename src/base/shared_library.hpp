// A library loaded when it is first needed, so that commands that never need it do not pay for loading it.
#pragma once

#include <string>

namespace runctl::base {

class SharedLibrary {
 public:
  // Loads `soname` (such as "libcurl.so.4") and keeps it for the rest of the process: libraries with
  // thread-local state and exit handlers must not be unloaded. Throws Error(io) naming the Debian package.
  SharedLibrary(const std::string& soname, const std::string& debian_package);

  // Sets `function` to the exported function `name`. Throws Error(io) where there is none.
  template <typename Function>
  void load(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(symbol(name));
  }

 private:
  [[nodiscard]] void* symbol(const char* name) const;

  std::string soname_;
  void* handle_;
};

}  // namespace runctl::base
