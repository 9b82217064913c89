// Listings of a bucket, read page by page from a server that is not trusted to get them right.
#pragma once

#include <functional>
#include <string>

#include "store/object_store.hpp"
#include "store/s3_exchange.hpp"

namespace runctl::store {

// Where a listing starts, in whole keys of the bucket.
struct ListRequest {
  std::string prefix;
  std::string delimiter;  // empty: every object; "/": objects and groups directly under the prefix
};

// Called in ascending order, with whole keys. A group is called with its common prefix and no size.
struct ListSink {
  std::function<void(ObjectInfo info)> object;
  std::function<void(std::string common_prefix)> group;
};

// ListObjectsV2 to its end. Throws Error(remote) where a page contradicts the request or another page: keys
// outside the prefix, keys that do not ascend, a truncated page without or with a repeated token.
void list_bucket(S3Exchange& exchange, const ListRequest& request, const ListSink& sink);

}  // namespace runctl::store
