// nghttp2, which has HTTP/2's frames, header compression and flow control: compiled in where its header is,
// and loaded where its library is. So a wheel imports everywhere, and says what it lacks.

#ifndef MAINSPRING_SRC_FRONT_NGHTTP2_H_
#define MAINSPRING_SRC_FRONT_NGHTTP2_H_

#include <cstdint>
#include <string>

#if __has_include(<nghttp2/nghttp2.h>)
#define MAINSPRING_HAS_NGHTTP2 1
#include <nghttp2/nghttp2.h>
#else
#define MAINSPRING_HAS_NGHTTP2 0
#endif

namespace mainspring::front {

// Why no gRPC is answered here, and what to do about it; "": it is.
std::string WhyNoHttp2();

#if MAINSPRING_HAS_NGHTTP2

// The functions that are called, by their names in the library without its prefix.
#define MAINSPRING_NGHTTP2_FUNCTIONS(X)                \
  X(option_new)                                        \
  X(option_del)                                        \
  X(option_set_no_auto_window_update)                  \
  X(option_set_no_closed_streams)                      \
  X(option_set_max_settings)                           \
  X(option_set_max_outbound_ack)                       \
  X(session_callbacks_new)                             \
  X(session_callbacks_del)                             \
  X(session_callbacks_set_on_begin_headers_callback)   \
  X(session_callbacks_set_on_header_callback)          \
  X(session_callbacks_set_on_frame_recv_callback)      \
  X(session_callbacks_set_on_data_chunk_recv_callback) \
  X(session_callbacks_set_on_stream_close_callback)    \
  X(session_callbacks_set_on_frame_send_callback)      \
  X(session_server_new2)                               \
  X(session_client_new2)                               \
  X(session_del)                                       \
  X(session_mem_recv)                                  \
  X(session_mem_send)                                  \
  X(session_want_read)                                 \
  X(session_want_write)                                \
  X(session_consume)                                   \
  X(session_consume_connection)                        \
  X(session_resume_data)                               \
  X(session_get_stream_user_data)                      \
  X(session_set_stream_user_data)                      \
  X(session_set_local_window_size)                     \
  X(session_get_last_proc_stream_id)                   \
  X(submit_settings)                                   \
  X(submit_request)                                    \
  X(submit_response)                                   \
  X(submit_trailer)                                    \
  X(submit_rst_stream)                                 \
  X(submit_shutdown_notice)                            \
  X(submit_goaway)                                     \
  X(version)

struct Nghttp2 {
#define MAINSPRING_DECLARE(name) decltype(&::nghttp2_##name) name = nullptr;
  MAINSPRING_NGHTTP2_FUNCTIONS(MAINSPRING_DECLARE)
#undef MAINSPRING_DECLARE
  // Of newer versions, and of older ones with their distribution's fixes; nullptr: not there.
  void (*option_set_stream_reset_rate_limit)(nghttp2_option*, std::uint64_t burst,
                                             std::uint64_t rate) = nullptr;
};

// Loaded once, for good. nullptr: WhyNoHttp2 says why.
const Nghttp2* LoadedNghttp2();

#endif  // MAINSPRING_HAS_NGHTTP2

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_NGHTTP2_H_
