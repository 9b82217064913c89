#include <doctest/doctest.h>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "base/time.hpp"
#include "base/utf8.hpp"
#include "support.hpp"

using namespace runctl;

TEST_CASE("ISO times are read with and without zone, to the microsecond") {
  CHECK(base::parse_iso_time("1970-01-01T00:00:00Z") == 0);
  CHECK(base::parse_iso_time("2024-05-05T23:43:00.500000Z") == 1714952580500000);
  CHECK(base::parse_iso_time("2024-05-05T23:43:00.5") == 1714952580500000);
  CHECK(base::parse_iso_time("2024-05-05 23:43:00.500000999") == 1714952580500000);
  CHECK(base::parse_iso_time("2024-05-06T01:43:00.5+02:00") == 1714952580500000);
  CHECK(base::parse_iso_time("2024-05-05T21:43:00.5-0200") == 1714952580500000);
  CHECK(base::parse_iso_time("2024-05-05") == 1714867200000000);
  CHECK(base::parse_iso_time("1969-12-31T23:59:59.999999Z") == -1);
  CHECK(base::parse_iso_time("2016-12-31T23:59:60Z") == 1483228800000000);
  for (const char* const wrong :
       {"", "yesterday", "2024-13-01", "2024-02-30", "2024-05-05T25:00", "2024-05-05T", "2024-05-05T10:00x",
        "2024-05-05T10:00:00.", "2024-05-05T10:00+99:00", "24-05-05", "2024-05-05T10"}) {
    CAPTURE(wrong);
    CHECK_FALSE(base::parse_iso_time(wrong).has_value());
  }
}

TEST_CASE("numbers are seconds, milliseconds, microseconds or nanoseconds by their size") {
  CHECK(base::parse_epoch_number("1714952580") == 1714952580000000);
  CHECK(base::parse_epoch_number("1714952580.25") == 1714952580250000);
  CHECK(base::parse_epoch_number("1714952580250") == 1714952580250000);
  CHECK(base::parse_epoch_number("1714952580250000") == 1714952580250000);
  CHECK(base::parse_epoch_number("1714952580250000999") == 1714952580250000);
  CHECK(base::parse_epoch_number("-1") == -1000000);
  CHECK_FALSE(base::parse_epoch_number("1e9").has_value());
  CHECK_FALSE(base::parse_epoch_number("99999999999999999999").has_value());
}

TEST_CASE("times are written as they are read") {
  for (const std::int64_t time : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1714952580500000}}) {
    CHECK(base::parse_iso_time(base::iso_text(time)) == time);
  }
  CHECK(base::day_text(1714952580500000) == "2024-05-05");
  CHECK(base::day_text(-1) == "1969-12-31");
}

TEST_CASE("a time beyond the nanoseconds of a number becomes its end") {
  using Limits = std::numeric_limits<std::int64_t>;
  CHECK(base::nanoseconds_of(5, 7) == 5'000'000'007);
  CHECK(base::nanoseconds_of(-5, 7) == -4'999'999'993);
  CHECK(base::nanoseconds_of(9'223'372'036, 854'775'807) == Limits::max());
  CHECK(base::nanoseconds_of(9'223'372'036, 854'775'808) == Limits::max());
  CHECK(base::nanoseconds_of(253'402'300'799) == Limits::max());
  CHECK(base::nanoseconds_of(-62'167'219'200) == Limits::min());
}

TEST_CASE("SHA-256 and HMAC give the published digests") {
  // FIPS 180-4 example "abc"; RFC 4231 test case 2.
  CHECK(base::to_hex(base::as_bytes(base::sha256("abc"))) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(base::to_hex(base::as_bytes(base::hmac_sha256("Jefe", "what do ya want for nothing?"))) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  base::Xxh3Stream pieces;
  pieces.update("ab");
  pieces.update("c");
  CHECK(pieces.value() == base::xxh3_64("abc"));
}

TEST_CASE("UTF-8 is judged as RFC 3629 says") {
  CHECK(base::utf8_sequence_length("\xC3\xA9") == 2);
  CHECK(base::utf8_sequence_length("\xF0\x9F\x98\x80") == 4);
  for (const char* const wrong :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "\xFF"}) {
    CAPTURE(base::to_hex(wrong));
    CHECK(base::utf8_sequence_length(wrong) == 0);
  }
}

TEST_CASE("foreign text cannot steer a terminal") {
  CHECK(base::printable("a\x1b[31m\n\x7f") == "a\\x1b[31m\\x0a\\x7f");
  CHECK(base::printable("\xC2\x9B") == "\\xc2\\x9b");
  CHECK(base::printable("caf\xC3\xA9 \xFF") == "caf\xC3\xA9 \\xff");
  CHECK(base::printable("abcdef", 3) == "abc...");
}

TEST_CASE("a text grows by what is appended and by what is written into its room") {
  base::Text text;
  CHECK(text.view().empty());
  text.append("");
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    const std::string piece = std::to_string(i * i);
    if (i % 3 == 0) {
      text.append(piece);
    } else {
      const std::span<char> room = text.room(piece.size());
      REQUIRE(room.size() >= piece.size());
      std::copy(piece.begin(), piece.end(), room.begin());
      text.grow(piece.size());
    }
    expected += piece;
    REQUIRE(text.view() == expected);
  }
  CHECK(base::Text(expected).room(0).empty());  // no more memory than it needs
  text.cut(10);
  text.cut(100);
  CHECK(text.view() == expected.substr(0, 10));
  base::Text other(std::move(text));
  CHECK(other.view() == expected.substr(0, 10));
  text = base::Text("new");
  other = std::move(text);
  CHECK(other.view() == "new");
}

TEST_CASE("a foreign length is never trusted") {
  base::ByteReader reader("abc");
  CHECK(reader.take(2) == "ab");
  CHECK(reader.take(0xFFFFFFFFFFFFFFFF).empty());
  CHECK_FALSE(reader.ok());
  CHECK(reader.number<std::uint8_t>() == 0);
}

TEST_CASE("an atomic file is there whole or not at all") {
  const tests::TemporaryDirectory directory;
  const std::string path = directory / "file";
  { base::AtomicFile(path).write("half"); }
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(std::filesystem::is_empty(directory.path()));

  base::AtomicFile first(path);
  first.write("one");
  CHECK(first.commit(base::AtomicFile::Replace::no));
  {
    base::AtomicFile second(path);
    second.write("two");
    CHECK_FALSE(second.commit(base::AtomicFile::Replace::no));
  }
  CHECK(tests::read_whole(path) == "one");
  base::AtomicFile third(path);
  third.write("three");
  CHECK(third.commit(base::AtomicFile::Replace::yes));
  CHECK(tests::read_whole(path) == "three");
  CHECK(base::read_file(path, 5) == "three");
  CHECK_THROWS_AS(base::read_file(path, 4), base::Error);
  CHECK_FALSE(base::read_file(directory / "none", 4).has_value());
}
