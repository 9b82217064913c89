#include "base/hash.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.hpp"
#include "base/shared_library.hpp"

namespace runctl::base {

namespace {

// libcrypto is loaded on first use: linking it costs every process half a millisecond, and the commands
// that only read from a directory never hash.
struct Crypto {
  decltype(&EVP_sha256) sha256 = nullptr;
  decltype(&EVP_MD_CTX_new) context_new = nullptr;
  decltype(&EVP_MD_CTX_free) context_free = nullptr;
  decltype(&EVP_DigestInit_ex) init = nullptr;
  decltype(&EVP_DigestUpdate) update = nullptr;
  decltype(&EVP_DigestFinal_ex) finish = nullptr;
  decltype(&HMAC) hmac = nullptr;

  Crypto() {
    const SharedLibrary library("libcrypto.so.3", "libssl3");
    library.load(sha256, "EVP_sha256");
    library.load(context_new, "EVP_MD_CTX_new");
    library.load(context_free, "EVP_MD_CTX_free");
    library.load(init, "EVP_DigestInit_ex");
    library.load(update, "EVP_DigestUpdate");
    library.load(finish, "EVP_DigestFinal_ex");
    library.load(hmac, "HMAC");
  }
};

const Crypto& crypto() {
  static const Crypto loaded;
  return loaded;
}

void check(bool ok) {
  if (!ok) throw Error(ErrorKind::io, "libcrypto: SHA-256 failed");
}

}  // namespace

std::uint64_t xxh3_64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

struct Xxh3Stream::State {
  XXH3_state_t xxh3;
};

Xxh3Stream::Xxh3Stream() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh3); }
Xxh3Stream::~Xxh3Stream() = default;

void Xxh3Stream::update(std::string_view bytes) {
  XXH3_64bits_update(&state_->xxh3, bytes.data(), bytes.size());
}

std::uint64_t Xxh3Stream::value() const { return XXH3_64bits_digest(&state_->xxh3); }

std::array<std::uint8_t, 16> xxh3_128(std::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  std::array<std::uint8_t, 16> out{};
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), out.begin());
  return out;
}

struct Sha256::Context {
  EVP_MD_CTX* handle = crypto().context_new();
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { crypto().context_free(handle); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  check(context_->handle != nullptr && crypto().init(context_->handle, crypto().sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) {
  check(crypto().update(context_->handle, bytes.data(), bytes.size()) == 1);
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest{};
  check(crypto().finish(context_->handle, digest.data(), nullptr) == 1);
  return digest;
}

Sha256Digest sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

Sha256Digest hmac_sha256(std::string_view key, std::string_view message) {
  Sha256Digest digest{};
  check(crypto().hmac(crypto().sha256(), key.data(), static_cast<int>(key.size()),
                      reinterpret_cast<const unsigned char*>(message.data()), message.size(), digest.data(),
                      nullptr) != nullptr);
  return digest;
}

}  // namespace runctl::base
