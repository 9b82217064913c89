#include "store/s3_xml.hpp"

#include <charconv>
#include <cstdint>

#include "base/utf8.hpp"

namespace runctl::store {

namespace {

constexpr int k_max_depth = 16;
constexpr std::size_t k_max_elements = 100'000;
constexpr std::string_view k_space = " \t\r\n";

class Parser {
 public:
  explicit Parser(std::string_view document) : rest_(document) {}

  std::optional<XmlElement> document() {
    if (rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);
    XmlElement root;
    if (!skip_between() || !element(root, 0) || !skip_between() || !rest_.empty()) return std::nullopt;
    return root;
  }

 private:
  bool take(std::string_view token) {
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }

  bool skip_past(std::string_view token) {
    const std::size_t at = rest_.find(token);
    if (at == std::string_view::npos) return false;
    rest_.remove_prefix(at + token.size());
    return true;
  }

  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(k_space), rest_.size())); }

  // Space, processing instructions and comments around the root. A document type is not skipped: whoever
  // sends one is not S3.
  bool skip_between() {
    for (;;) {
      skip_space();
      if (take("<?")) {
        if (!skip_past("?>")) return false;
      } else if (take("<!--")) {
        if (!skip_past("-->")) return false;
      } else {
        return true;
      }
    }
  }

  static std::string_view local_name(std::string_view name) {
    const std::size_t colon = name.find(':');
    return colon == std::string_view::npos ? name : name.substr(colon + 1);
  }

  std::string_view name() {
    const std::size_t end = std::min(rest_.find_first_of(" \t\r\n/><=\"'&"), rest_.size());
    const std::string_view taken = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return taken;
  }

  bool skip_attributes() {
    for (;;) {
      skip_space();
      if (rest_.empty()) return false;
      if (rest_.front() == '>' || rest_.front() == '/') return true;
      if (name().empty()) return false;
      skip_space();
      if (!take("=")) return false;
      skip_space();
      const std::string_view quote = rest_.substr(0, 1);
      if (quote != "\"" && quote != "'") return false;
      rest_.remove_prefix(1);
      if (!skip_past(quote)) return false;
    }
  }

  bool element(XmlElement& out, int depth) {
    if (depth > k_max_depth || ++elements_ > k_max_elements || !take("<")) return false;
    const std::string_view tag = name();
    if (tag.empty() || !skip_attributes()) return false;
    out.name = local_name(tag);
    if (take("/>")) return true;
    return take(">") && content(out, depth) && take(tag) && (skip_space(), take(">"));
  }

  // Up to and including the "</" of the end tag.
  bool content(XmlElement& out, int depth) {
    for (;;) {
      const std::size_t special = rest_.find_first_of("<&");
      if (special == std::string_view::npos) return false;
      out.text += rest_.substr(0, special);
      rest_.remove_prefix(special);
      if (take("</")) return true;
      if (take("<!--")) {
        if (!skip_past("-->")) return false;
      } else if (take("<![CDATA[")) {
        const std::string_view before = rest_;
        if (!skip_past("]]>")) return false;
        out.text += before.substr(0, before.size() - rest_.size() - 3);
      } else if (rest_.front() == '&') {
        if (!reference(out.text)) return false;
      } else if (!element(out.children.emplace_back(), depth + 1)) {
        return false;
      }
    }
  }

  bool reference(std::string& out) {
    const std::size_t end = rest_.find(';');
    if (end > 12) return false;  // or there is none: npos is greater still
    const std::string_view body = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    if (body.starts_with('#')) return character_reference(body.substr(1), out);
    for (const auto& [known, character] : {std::pair{"lt", '<'}, std::pair{"gt", '>'}, std::pair{"amp", '&'},
                                           std::pair{"quot", '"'}, std::pair{"apos", '\''}}) {
      if (body == known) {
        out += character;
        return true;
      }
    }
    return false;
  }

  static bool character_reference(std::string_view digits, std::string& out) {
    const bool hex = digits.starts_with('x');
    if (hex) digits.remove_prefix(1);
    std::uint32_t code = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, hex ? 16 : 10);
    const bool whole = error == std::errc{} && end == digits.data() + digits.size();
    if (!whole || code == 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    base::append_utf8(out, code);
    return true;
  }

  std::string_view rest_;
  std::size_t elements_ = 0;
};

}  // namespace

const XmlElement* XmlElement::child(std::string_view child_name) const {
  for (const XmlElement& each : children) {
    if (each.name == child_name) return &each;
  }
  return nullptr;
}

std::string_view XmlElement::text_of(std::string_view child_name) const {
  const XmlElement* const found = child(child_name);
  return found == nullptr ? std::string_view{} : std::string_view(found->text);
}

std::optional<XmlElement> parse_xml(std::string_view document) { return Parser(document).document(); }

std::string escape_xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&apos;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace runctl::store
