/*
 * A libmodbus server. libmodbus lays integers into registers, big end first;
 * the other orders are made here.
 *
 * Usage: libmodbus_server PORT < cells
 * A cell is `table TAB address TAB type TAB order TAB value`. What no cell
 * holds is 0. Serves one client after the other, until it is killed.
 */

#include <errno.h>
#include <inttypes.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 2000 };

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

/* Big end first to the order, in registers. */
static void reorder(uint16_t *at, int registers, const char *order)
{
    if (!strcmp(order, "cdab") || !strcmp(order, "dcba")) {
        for (int i = 0; i < registers / 2; i++) {
            uint16_t word = at[i];
            at[i] = at[registers - 1 - i];
            at[registers - 1 - i] = word;
        }
    }
    if (!strcmp(order, "badc") || !strcmp(order, "dcba") || !strcmp(order, "ba")) {
        for (int i = 0; i < registers; i++)
            at[i] = (uint16_t)(at[i] << 8 | at[i] >> 8);
    }
}

static void set_text(uint16_t *at, const char *text)
{
    size_t bytes = strlen(text), registers = (bytes + 1) / 2;
    for (size_t i = 0; i < registers; i++) {
        uint8_t high = (uint8_t)text[2 * i];
        uint8_t low = 2 * i + 1 < bytes ? (uint8_t)text[2 * i + 1] : 0;
        at[i] = (uint16_t)(high << 8 | low);
    }
}

static void set(uint16_t *at, const char *type, const char *order, const char *text)
{
    int bits = atoi(type + 1);
    if (!strcmp(type, "string")) {
        set_text(at, text);
        reorder(at, (int)(strlen(text) + 1) / 2, order);
    } else {
        uint64_t n;
        /* Not modbus_set_float_abcd: its names mean other orders from release to release. */
        if (!strcmp(type, "f32")) {
            float x = strtof(text, NULL);
            uint32_t bits32;
            memcpy(&bits32, &x, sizeof bits32);
            n = bits32;
        } else if (!strcmp(type, "f64")) {
            double x = strtod(text, NULL);
            memcpy(&n, &x, sizeof n);
        } else if (type[0] == 'i') {
            n = (uint64_t)strtoll(text, NULL, 10);
        } else {
            n = strtoull(text, NULL, 10);
        }
        if (!strcmp(type, "bit") || bits == 16)
            at[0] = (uint16_t)n;
        else if (bits == 32)
            MODBUS_SET_INT32_TO_INT16(at, 0, (int32_t)n);
        else
            MODBUS_SET_INT64_TO_INT16(at, 0, (int64_t)n);
        reorder(at, !strcmp(type, "bit") ? 1 : bits / 16, order);
    }
}

static void load(modbus_mapping_t *map)
{
    char line[512];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *table = strtok(line, "\t"), *address = strtok(NULL, "\t");
        char *type = strtok(NULL, "\t"), *order = strtok(NULL, "\t"), *text = strtok(NULL, "\t");
        if (!table || !address || !type || !order || !text)
            die("cell");
        int at = atoi(address);
        if (!strcmp(table, "coil"))
            map->tab_bits[at] = (uint8_t)atoi(text);
        else if (!strcmp(table, "discrete"))
            map->tab_input_bits[at] = (uint8_t)atoi(text);
        else if (!strcmp(table, "holding"))
            set(map->tab_registers + at, type, order, text);
        else
            set(map->tab_input_registers + at, type, order, text);
    }
}

int main(int argc, char **argv)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    modbus_t *bus = modbus_new_tcp("127.0.0.1", argc > 1 ? atoi(argv[1]) : 0);
    modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    if (!bus || !map)
        die("libmodbus");
    load(map);
    int listener = modbus_tcp_listen(bus, 1);
    if (listener == -1)
        die("listen");
    for (;;) {
        if (modbus_tcp_accept(bus, &listener) == -1)
            die("accept");
        int length;
        while ((length = modbus_receive(bus, query)) >= 0) {
            if (length > 0)
                modbus_reply(bus, query, length, map);
        }
        modbus_close(bus);
    }
}
