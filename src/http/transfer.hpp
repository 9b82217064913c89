// One request on its way and the rules of its answer: what is sent next, what may be received. No library
// here.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>

#include "http/client.hpp"
#include "http/message.hpp"

namespace runctl::http {

// Where the network thread leaves what a Flight waits for.
struct Mailbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<Landing> landed;
  std::size_t outstanding = 0;  // handed to the network thread and not landed yet
  std::atomic<bool> cancelled = false;
};

struct Transfer {
  std::size_t tag = 0;
  Request request;
  std::shared_ptr<Mailbox> mailbox;
  std::chrono::steady_clock::time_point due;
  Response response;
  bool cut_off = false;  // we ended it because the rest does not matter; what came is good

  [[nodiscard]] std::uint64_t body_size() const;
  // Copies the next bytes of the request's body to `buffer`, at most `room`; 0 at its end.
  std::size_t give(char* buffer, std::size_t room);
  // Starts over with the body, for when a pooled connection turns out to be dead.
  void rewind();

  // One line of the answer's head, or a piece of its body. False ends the transfer.
  bool take_header(std::string_view line);
  bool take_body(std::string_view bytes);

  // The transfer ended as it should, as far as the connection goes: is the answer all there?
  void check_complete();

 private:
  bool head_complete_ = false;
  std::size_t header_lines_ = 0;
  std::size_t part_ = 0;     // of the request's body, that is being sent
  std::size_t part_at_ = 0;  // bytes of it that have been sent
};

}  // namespace runctl::http
