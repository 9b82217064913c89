// Buckets for tests: runctl itself never makes one.
#pragma once

#include <string>

#include "store/s3_settings.hpp"

namespace runctl::tests {

// Makes the bucket that `settings` name, with the credentials in the environment; one that is there already
// is good. Throws base::Error.
void make_bucket(const store::S3Settings& settings);

}  // namespace runctl::tests
