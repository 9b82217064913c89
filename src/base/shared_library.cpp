#include "base/shared_library.hpp"

#include <dlfcn.h>

#include "base/error.hpp"

namespace runctl::base {

SharedLibrary::SharedLibrary(const std::string& soname, const std::string& debian_package)
    : soname_(soname), handle_(dlopen(soname.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) {
  if (handle_ == nullptr) {
    throw Error(ErrorKind::io,
                soname + ": cannot be loaded (" + dlerror() + "); install the package " + debian_package);
  }
}

void* SharedLibrary::symbol(const char* name) const {
  void* const found = dlsym(handle_, name);
  if (found == nullptr) throw Error(ErrorKind::io, soname_ + ": has no function " + name);
  return found;
}

}  // namespace runctl::base
