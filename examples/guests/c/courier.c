/* A reactor for the bus that uses all of it. It asks a service again and again and keeps count of the answers in its map:
 *
 *     softbus run courier.wasm --grant service:echo/1 --env SERVICE=echo/1 --env ROUNDS=5
 *
 * Between two rounds it sleeps (PAUSE_MS, 100 unless said otherwise). It may be moved at any instant: each answer is counted
 * once. At the end it asks a model, which may not be there. */
#include "softbus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char answer[SOFTBUS_MESSAGE_BYTES];
/* Set before softbus_main by what runs first. */
static int begun;

__attribute__((constructor)) static void begin(void) { begun = 1; }

static void say(uint32_t level, const char *text) { softbus_log(level, text, strlen(text)); }

static int fails(const char *what, uint32_t error) {
    char text[128];
    snprintf(text, sizeof text, "%s: error %" PRIu32, what, error);
    say(SOFTBUS_ERROR, text);
    return 1;
}

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

/* Asks, and notes the answer under the number of the round. */
static int round_trip(uint32_t channel, long round) {
    char text[32], key[32];
    uint32_t error, len;
    snprintf(text, sizeof text, "message %ld", round);
    if ((error = softbus_channel_send(channel, text, strlen(text)))) return fails("send", error);
    /* Looks once in between, as one that has something else to do. */
    error = softbus_channel_recv(channel, answer, sizeof answer, &len, 0);
    if (error == SOFTBUS_ETIMEDOUT)
        error = softbus_channel_recv(channel, answer, sizeof answer, &len, SOFTBUS_FOREVER);
    if (error) return fails("recv", error);
    snprintf(key, sizeof key, "answer %04ld", round);
    if ((error = softbus_kv_set(key, strlen(key), answer, len))) return fails("set", error);
    printf("%.*s\n", (int)len, answer);
    fflush(stdout);
    return 0;
}

int softbus_main(void) {
    const char *service = getenv("SERVICE") ? getenv("SERVICE") : "echo/1";
    long rounds = number("ROUNDS", 3), pause_ms = number("PAUSE_MS", 100), kept = 0;
    char key[SOFTBUS_KEY_BYTES], value[64];
    uint32_t error, channel, len, key_len = 0;
    if (!begun) return 3;
    if ((error = softbus_channel_open(service, strlen(service), &channel))) return fails(service, error);
    say(SOFTBUS_INFO, "the courier is on its way");
    for (long round = 0; round < rounds; round++) {
        if (round_trip(channel, round)) return 1;
        if ((error = softbus_sleep((uint64_t)pause_ms * 1000000))) return fails("sleep", error);
    }
    if ((error = softbus_channel_close(channel))) return fails("close", error);
    /* In the order of their keys, each taken out once it was counted. */
    while (!(error = softbus_kv_next(key, key_len, key, sizeof key, &key_len))) {
        error = softbus_kv_get(key, key_len, value, sizeof value, &len);
        if (error && error != SOFTBUS_EOVERFLOW) return fails("get", error);
        if ((error = softbus_kv_delete(key, key_len))) return fails("delete", error);
        kept++;
    }
    if (error != SOFTBUS_ENOENT) return fails("next", error);
    printf("%ld answers\n", kept);
    error = softbus_infer("Say hello.", 10, answer, sizeof answer, &len, SOFTBUS_FOREVER);
    if (error)
        printf("no model: error %" PRIu32 "\n", error);
    else
        printf("a model says: %.*s\n", (int)(len < sizeof answer ? len : sizeof answer), answer);
    return 0;
}
