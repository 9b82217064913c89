#include "http/client.hpp"

#include <utility>

#include "http/network.hpp"
#include "http/transfer.hpp"

namespace runctl::http {

Client::Client(ClientOptions options) : options_(std::move(options)) {}
Client::~Client() = default;

Network& Client::network() {
  const std::lock_guard lock(starting_);
  if (network_ == nullptr) network_ = std::make_unique<Network>(options_);
  return *network_;
}

Response Client::perform(Request request) {
  Flight flight(*this);
  flight.start(0, std::move(request));
  for (;;) {
    if (auto landing = flight.wait_for(std::chrono::hours{1})) return std::move(landing->response);
  }
}

Flight::Flight(Client& client) : network_(client.network()), mailbox_(std::make_shared<Mailbox>()) {}

Flight::~Flight() {
  std::unique_lock lock(mailbox_->mutex);
  if (mailbox_->outstanding == 0) return;
  mailbox_->cancelled = true;
  network_.wake();
  mailbox_->arrived.wait(lock, [this] { return mailbox_->outstanding == 0; });
}

void Flight::start(std::size_t tag, Request request) {
  auto transfer = std::make_unique<Transfer>();
  transfer->tag = tag;
  transfer->due = std::chrono::steady_clock::now() + request.delay;
  transfer->request = std::move(request);
  transfer->mailbox = mailbox_;
  {
    const std::lock_guard lock(mailbox_->mutex);
    ++mailbox_->outstanding;
  }
  ++under_way_;
  network_.submit(std::move(transfer));
}

std::optional<Landing> Flight::wait_for(std::chrono::milliseconds limit) {
  std::unique_lock lock(mailbox_->mutex);
  if (!mailbox_->arrived.wait_for(lock, limit, [this] { return !mailbox_->landed.empty(); }))
    return std::nullopt;
  Landing landing = std::move(mailbox_->landed.front());
  mailbox_->landed.pop_front();
  --under_way_;
  return landing;
}

}  // namespace runctl::http
