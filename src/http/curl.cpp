#include "http/curl.hpp"

#include "base/error.hpp"
#include "base/shared_library.hpp"

namespace runctl::http {

Curl::Curl() {
  const base::SharedLibrary library("libcurl.so.4", "libcurl4");
  library.load(global_init, "curl_global_init");
  library.load(easy_init, "curl_easy_init");
  library.load(easy_cleanup, "curl_easy_cleanup");
  library.load(easy_reset, "curl_easy_reset");
  library.load(setopt, "curl_easy_setopt");
  library.load(getinfo, "curl_easy_getinfo");
  library.load(strerror, "curl_easy_strerror");
  library.load(slist_append, "curl_slist_append");
  library.load(slist_free_all, "curl_slist_free_all");
  library.load(multi_init, "curl_multi_init");
  library.load(multi_cleanup, "curl_multi_cleanup");
  library.load(multi_setopt, "curl_multi_setopt");
  library.load(multi_add, "curl_multi_add_handle");
  library.load(multi_remove, "curl_multi_remove_handle");
  library.load(multi_perform, "curl_multi_perform");
  library.load(multi_poll, "curl_multi_poll");
  library.load(multi_wakeup, "curl_multi_wakeup");
  library.load(multi_info_read, "curl_multi_info_read");
  if (global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    throw base::Error(base::ErrorKind::io, "libcurl: cannot be initialised");
  }
}

const Curl& curl() {
  static const Curl loaded;
  return loaded;
}

Failure failure_of(CURLcode code, std::string_view error_text) {
  switch (code) {
    case CURLE_OK:
      return Failure::none;
    case CURLE_URL_MALFORMAT:
      return Failure::bad_url;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Failure::resolve;
    case CURLE_COULDNT_CONNECT:
      return Failure::connect;
    case CURLE_SSL_CONNECT_ERROR:
      // OpenSSL's word for an answer that is no TLS record; other handshake faults may pass.
      return error_text.find("wrong version number") != std::string_view::npos ? Failure::no_tls
                                                                               : Failure::broken;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return Failure::certificate;
    case CURLE_OPERATION_TIMEDOUT:
      return Failure::timeout;
    default:
      return Failure::broken;
  }
}

}  // namespace runctl::http
