/* What programs on the bus have beside WASI preview 1. Complete in itself: no other file and no library is needed.
 *
 * A program for the bus is a command of WASI (it has `main`), or a reactor:
 *
 *     #include "softbus.h"
 *     int softbus_main(void) { return 0; }     the exit status of its task
 *
 *     clang --target=wasm32-wasi -mexec-model=reactor -O2 -o program.wasm program.c
 *
 * Either may be stopped and moved to another device at any instant, in the midst of these calls too: a call that waits goes
 * on waiting there, for what is left of its time. What is in the map, what was sent and is not answered, and answers that
 * were not taken go with it.
 *
 * Every function returns an error number of WASI preview 1 (SOFTBUS_E…); 0 is success. Texts and bytes are an address and a
 * length; texts are UTF-8 and need no zero at their end. Where a function gives bytes out, `cap` is the room for them, and
 * their length is written; if they do not fit that length alone is written, and SOFTBUS_EOVERFLOW is returned. Addresses
 * must lie in the program's own memory, or SOFTBUS_EFAULT is returned and nothing is done.
 */
#ifndef SOFTBUS_H
#define SOFTBUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOFTBUS_ESUCCESS 0
#define SOFTBUS_EACCES 2       /* whoever has the service does not let this program in */
#define SOFTBUS_EAGAIN 6       /* too much is unanswered: take answers first */
#define SOFTBUS_EBADF 8        /* no such channel */
#define SOFTBUS_EFAULT 21      /* an address outside of the program's memory */
#define SOFTBUS_EFBIG 22       /* the value is too long */
#define SOFTBUS_EHOSTUNREACH 23 /* nobody answered within a minute */
#define SOFTBUS_EILSEQ 25      /* the name is no UTF-8 */
#define SOFTBUS_EINVAL 28      /* no such level, an empty key, no name of a service */
#define SOFTBUS_EIO 29         /* the service was asked, and could not */
#define SOFTBUS_EMFILE 33      /* too many channels are open */
#define SOFTBUS_EMSGSIZE 35    /* the text, the message or its answer is too long */
#define SOFTBUS_ENAMETOOLONG 37 /* the key or the name is too long */
#define SOFTBUS_ENOENT 44      /* no such key, no key after it */
#define SOFTBUS_ENOMSG 49      /* nothing was sent for which an answer could come */
#define SOFTBUS_ENOSPC 51      /* the map is full */
#define SOFTBUS_ENOTSUP 58     /* there is nobody for that */
#define SOFTBUS_EOVERFLOW 61   /* more than there is room for; the length says how much */
#define SOFTBUS_ETIMEDOUT 73   /* not within the time; it may still come */
#define SOFTBUS_ENOTCAPABLE 76 /* the program was not granted that */

/* Limits. */
#define SOFTBUS_LOG_BYTES 4096        /* of a line of the log */
#define SOFTBUS_KEYS 4096             /* keys in the map */
#define SOFTBUS_KEY_BYTES 256         /* of a key, which has at least one */
#define SOFTBUS_VALUE_BYTES 65536     /* of a value */
#define SOFTBUS_MAP_BYTES 4194304     /* of all keys and values */
#define SOFTBUS_CHANNELS 64           /* channels that are open */
#define SOFTBUS_MESSAGES 64           /* messages of all channels whose answer was not taken */
#define SOFTBUS_MESSAGE_BYTES 262144  /* of a message, an answer, a prompt */

/* No end of waiting, but that after a minute nobody answers. */
#define SOFTBUS_FOREVER UINT64_MAX

#define SOFTBUS_IMPORT(function) __attribute__((import_module("softbus"), import_name(#function)))

enum softbus_level {
    SOFTBUS_ERROR = 0,
    SOFTBUS_WARN = 1,
    SOFTBUS_INFO = 2,
    SOFTBUS_DEBUG = 3,
    SOFTBUS_TRACE = 4
};

/* Says a line to whoever watches the program, on its standard error. Line ends within it become spaces. */
SOFTBUS_IMPORT(log)
uint32_t softbus_log(uint32_t level, const char *text, uint32_t text_len);

/* The map: values by keys, the task's own. It moves with the task, and ends with it. */

/* The value of a key. */
SOFTBUS_IMPORT(kv_get)
uint32_t softbus_kv_get(const void *key, uint32_t key_len, void *value, uint32_t value_cap, uint32_t *value_len);

/* Gives a key a value, in place of the one that it had. */
SOFTBUS_IMPORT(kv_set)
uint32_t softbus_kv_set(const void *key, uint32_t key_len, const void *value, uint32_t value_len);

/* Takes a key out. */
SOFTBUS_IMPORT(kv_delete)
uint32_t softbus_kv_delete(const void *key, uint32_t key_len);

/* The first key after this one in the order of their bytes; after the empty one, the first of all. This one need not be
 * in the map, so keys may be taken out on the way. */
SOFTBUS_IMPORT(kv_next)
uint32_t softbus_kv_next(const void *after, uint32_t after_len, void *key, uint32_t key_cap, uint32_t *key_len);

/* Waits so many nanoseconds of the task's time, which stands still while the task does. */
SOFTBUS_IMPORT(sleep)
uint32_t softbus_sleep(uint64_t duration_ns);

/* Channels: messages to a service of the mesh, such as "echo/1", and its answers. Only services that the task was granted
 * (`softbus run program.wasm --grant service:echo/1`). Whichever device offers it is asked, the one that was asked before
 * first. A message has a number within its task: after a move or the loss of a device it is asked again under the same
 * number if it was not answered, and a device that answered that already does not do it twice. */

/* Opens a channel; asks nobody yet. */
SOFTBUS_IMPORT(channel_open)
uint32_t softbus_channel_open(const char *service, uint32_t service_len, uint32_t *channel);

/* Sends a message. Returns at once. */
SOFTBUS_IMPORT(channel_send)
uint32_t softbus_channel_send(uint32_t channel, const void *message, uint32_t message_len);

/* Waits for the answer to the first message whose answer was not taken. Answers come in the order of their messages. With
 * a timeout of 0 it only looks. After SOFTBUS_ETIMEDOUT and SOFTBUS_EOVERFLOW the answer can still be taken; every other
 * error stands in place of the answer. */
SOFTBUS_IMPORT(channel_recv)
uint32_t softbus_channel_recv(uint32_t channel, void *answer, uint32_t answer_cap, uint32_t *answer_len,
                              uint64_t timeout_ns);

/* Closes a channel. Answers that were not taken are lost. */
SOFTBUS_IMPORT(channel_close)
uint32_t softbus_channel_close(uint32_t channel);

/* What a model says to a prompt (granted with `--grant infer`). An answer longer than the room for it is cut off; its whole
 * length is written. No device of this version has a model for this: it is always SOFTBUS_ENOTSUP for now. */
SOFTBUS_IMPORT(infer)
uint32_t softbus_infer(const char *prompt, uint32_t prompt_len, char *answer, uint32_t answer_cap, uint32_t *answer_len,
                       uint64_t timeout_ns);

/* What a reactor has: called once, after its constructors; its result is the exit status of the task. */
__attribute__((export_name("softbus_main"))) int softbus_main(void);

#ifdef __cplusplus
}
#endif

#endif
