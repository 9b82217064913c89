#include "store/s3_listing.hpp"

#include <fmt/format.h>

#include <charconv>
#include <set>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "http/date.hpp"
#include "store/s3_xml.hpp"

namespace runctl::store {

namespace {

constexpr std::uint64_t k_max_page_bytes =
    16 << 20;  // 1,000 keys of 1,024 bytes each encoded as three, and markup

// Servers may send pages with nothing on them, but not for ever.
constexpr std::size_t k_max_empty_pages = 1000;
constexpr std::size_t k_max_entries = 10'000'000;
constexpr std::size_t k_max_token = 8192;  // bytes; AWS takes 1,024 at most

class Listing {
 public:
  Listing(S3Exchange& exchange, const ListRequest& request, const ListSink& sink)
      : exchange_(exchange), request_(request), sink_(sink) {}

  void run() {
    std::set<std::string> tokens;
    std::string token;
    std::size_t empty_pages = 0;
    do {
      const std::size_t before = entries_;
      token = page(token);
      empty_pages = entries_ == before ? empty_pages + 1 : 0;
      if (empty_pages > k_max_empty_pages || entries_ > k_max_entries || token.size() > k_max_token)
        fail("the server comes to no end");
      if (!token.empty() && !tokens.insert(token).second) fail("the server repeats a continuation token");
    } while (!token.empty());
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw base::Error(base::ErrorKind::remote, fmt::format("listing of \"{}\": {}", request_.prefix, why));
  }

  // Visits one page; the token of the next one, empty at the end.
  std::string page(const std::string& token) {
    S3Call call;
    call.method = "GET";
    call.query = {
        {"list-type", "2"}, {"encoding-type", "url"}, {"max-keys", "1000"}, {"prefix", request_.prefix}};
    if (!request_.delimiter.empty()) call.query.emplace_back("delimiter", request_.delimiter);
    if (!token.empty()) call.query.emplace_back("continuation-token", token);
    call.rule.max_bytes = k_max_page_bytes;
    call.xml_root = "ListBucketResult";
    const S3Answer answer = exchange_.ask(call);
    const auto root = parse_xml(answer.response.body);
    encoded_ = root->text_of("EncodingType") == "url";
    for (const XmlElement& each : root->children) {
      if (each.name == "Contents") visit_object(each);
      if (each.name == "CommonPrefixes") visit_group(each);
    }
    const std::string_view truncated = root->text_of("IsTruncated");
    if (truncated == "false") return {};
    std::string next(root->text_of("NextContinuationToken"));
    if (truncated != "true") fail("the server does not say whether more follows");
    if (next.empty()) fail("the server says that more follows, but not where");
    return next;
  }

  [[nodiscard]] std::string decoded(std::string_view text) const {
    if (!encoded_) return std::string(text);
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (c == '%') {
        const auto byte = i + 2 < text.size() ? base::from_hex(text.substr(i + 1, 2)) : std::nullopt;
        if (!byte) fail("the server sent a malformed key");
        out += *byte;
        i += 2;
      } else {
        out += c == '+' ? ' ' : c;
      }
    }
    return out;
  }

  // Ascending within objects and within groups: servers put the groups of a page after its objects.
  void check(const std::string& key, std::string& last) {
    if (!key.starts_with(request_.prefix)) {
      fail(fmt::format("the server sent \"{}\", which is outside of it", base::printable(key)));
    }
    if (!last.empty() && key <= last) {
      fail(fmt::format("the server sent \"{}\" after \"{}\"", base::printable(key), base::printable(last)));
    }
    last = key;
    ++entries_;
  }

  void visit_object(const XmlElement& contents) {
    ObjectInfo info;
    info.key = decoded(contents.text_of("Key"));
    check(info.key, last_object_);
    const std::string_view size = contents.text_of("Size");
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), info.size);
    const auto modified = http::parse_iso_time(contents.text_of("LastModified"));
    if (error != std::errc{} || end != size.data() + size.size() || !modified) {
      fail(fmt::format("the server sent \"{}\" without a size or time", base::printable(info.key)));
    }
    // Whole seconds, as HEAD reports them.
    info.modified_ns = base::nanoseconds_of(*modified);
    if (sink_.object) sink_.object(std::move(info));
  }

  void visit_group(const XmlElement& prefixes) {
    std::string group = decoded(prefixes.text_of("Prefix"));
    // Some servers repeat a group at the head of the next page.
    if (!group.empty() && group == last_group_) return;
    check(group, last_group_);
    if (sink_.group) sink_.group(std::move(group));
  }

  S3Exchange& exchange_;
  const ListRequest& request_;
  const ListSink& sink_;
  std::string last_object_;
  std::string last_group_;
  bool encoded_ = false;
  std::size_t entries_ = 0;  // that have come so far
};

}  // namespace

void list_bucket(S3Exchange& exchange, const ListRequest& request, const ListSink& sink) {
  Listing(exchange, request, sink).run();
}

}  // namespace runctl::store
