// The network thread: one libcurl multi handle with its connection pool, driving any number of transfers.
#pragma once

#include <memory>

#include "http/client.hpp"
#include "http/transfer.hpp"

namespace runctl::http {

class Network {
 public:
  // Loads libcurl and starts the thread. Throws Error(io) where libcurl is not installed.
  explicit Network(const ClientOptions& options);
  // Transfers that are still under way are dropped and never land.
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // The transfer lands in its mailbox. From any thread.
  void submit(std::unique_ptr<Transfer> transfer);
  // Has the thread look at once for transfers whose mailbox is cancelled.
  void wake();

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace runctl::http
