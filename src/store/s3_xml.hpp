// The XML that S3 answers with, read from a server that may be hostile: a small tree, no DTD, no entities
// but the five of XML and character references, and caps on depth and number of elements.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runctl::store {

struct XmlElement {
  std::string name;  // without a namespace prefix
  std::string text;  // what stands between the tags, children left out, references resolved
  std::vector<XmlElement> children;

  [[nodiscard]] const XmlElement* child(std::string_view child_name) const;
  // The text of the first such child; empty where there is none.
  [[nodiscard]] std::string_view text_of(std::string_view child_name) const;
};

// The root element; absent where `document` is not one well-formed element (within the caps).
std::optional<XmlElement> parse_xml(std::string_view document);

// `text` with the five special characters written as references.
std::string escape_xml(std::string_view text);

}  // namespace runctl::store
