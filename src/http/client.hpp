// The HTTP/1.1 client of the house: one connection pool and one network thread, many transfers in flight.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "http/message.hpp"

namespace runctl::http {

class Network;   // libcurl and its thread; client.cpp
struct Mailbox;  // where responses wait for their Flight; client.cpp

struct ClientOptions {
  std::string ca_bundle;  // PEM file of the authorities to trust; empty: the system's
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::seconds stall_timeout{20};  // given up when less than 1 KB/s came or went for so long
  std::string user_agent = "runctl";
};

// May be used from several threads at once. It costs nothing until the first request, which loads libcurl
// and starts the network thread (Error(io) where libcurl is not installed). Redirects are not followed.
// Requests that use it (Flight) must end before it does.
class Client {
 public:
  explicit Client(ClientOptions options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Sends one request and waits for what comes of it. Failures of the network are values, not exceptions.
  Response perform(Request request);

 private:
  friend class Flight;
  Network& network();

  ClientOptions options_;
  std::mutex starting_;
  std::unique_ptr<Network> network_;
};

struct Landing {
  std::size_t tag = 0;
  Response response;
};

// Requests of one caller that are under way at the same time. Not for use by several threads at once.
class Flight {
 public:
  explicit Flight(Client& client);
  // Drops what is still under way; the bodies of all requests are free to go afterwards.
  ~Flight();
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  // Hands the request to the network thread. `tag` comes back with its response.
  void start(std::size_t tag, Request request);

  // The next response, for which it waits; absent where none came within `limit`. At least one request must
  // be under way.
  std::optional<Landing> wait_for(std::chrono::milliseconds limit);

  [[nodiscard]] std::size_t under_way() const { return under_way_; }

 private:
  Network& network_;
  std::shared_ptr<Mailbox> mailbox_;
  std::size_t under_way_ = 0;
};

}  // namespace runctl::http
