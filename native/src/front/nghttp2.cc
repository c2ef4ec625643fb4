#include "nghttp2.h"

#include <dlfcn.h>

#include <cstring>

namespace mainspring::front {

#if MAINSPRING_HAS_NGHTTP2
namespace {

// The name says the ABI: it has not changed since 1.0.
constexpr char kLibrary[] = "libnghttp2.so.14";
// The oldest with all functions of the table.
constexpr int kLeastVersion = 0x012900;

struct Loaded {
  Nghttp2 functions;
  std::string why;  // "": all of them are there

  Loaded() {
    void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      why = std::string(kLibrary) + " is not installed (Debian: libnghttp2-14)";
      return;
    }
    const auto find = [&](const char* name, auto* function) {
      void* const symbol = dlsym(library, name);
      static_assert(sizeof symbol == sizeof *function);
      std::memcpy(function, &symbol, sizeof symbol);
      return symbol != nullptr;
    };
    bool has_all = true;
#define MAINSPRING_FIND(name) has_all = find("nghttp2_" #name, &functions.name) && has_all;
    MAINSPRING_NGHTTP2_FUNCTIONS(MAINSPRING_FIND)
#undef MAINSPRING_FIND
    find("nghttp2_option_set_stream_reset_rate_limit", &functions.option_set_stream_reset_rate_limit);
    if (!has_all || functions.version(kLeastVersion) == nullptr) {
      why = std::string(kLibrary) + " is older than 1.41; install a newer one";
    }
  }
};

const Loaded& TheLoaded() {
  static const Loaded* const loaded = new Loaded;  // threads may outlive the statics
  return *loaded;
}

}  // namespace

const Nghttp2* LoadedNghttp2() {
  const Loaded& loaded = TheLoaded();
  return loaded.why.empty() ? &loaded.functions : nullptr;
}

std::string WhyNoHttp2() { return TheLoaded().why; }

#else

std::string WhyNoHttp2() {
  return "this build had no nghttp2/nghttp2.h (Debian: libnghttp2-dev); install it and build again";
}

#endif

}  // namespace mainspring::front
