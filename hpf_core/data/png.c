/* From the unpacked rows of an 8-bit RGB PNG image to 16 bits a pixel: the rows' filters undone (W3C, Portable Network
 * Graphics Specification, section 9), then green as the high byte and blue as the low one.
 */
#include <stdlib.h>
#include <string.h>

#include "native.h"

enum { CHANNELS = 3 };

static inline uint8_t paeth(int left, int above, int corner) {
    const int by_left = abs(above - corner), by_above = abs(left - corner), by_corner = abs(left + above - 2 * corner);
    if (by_left <= by_above && by_left <= by_corner) return (uint8_t)left;
    return (uint8_t)(by_above <= by_corner ? above : corner);
}

/* `rows` (height, 1 + 3 width): each row's filter and its bytes; `pixels` (height, width). Returns the first row, counted
 * from 0, whose filter isn't one of PNG's, or -1 where all are. */
int64_t unfilter(int64_t height, int64_t width, const uint8_t *rows, uint16_t *pixels) {
    const int64_t bytes = CHANNELS * width;
    /* Two lines in turn, with a pixel of zeros before each: what lies outside of the image counts as zero. */
    uint8_t lines[2][CHANNELS + bytes];
    memset(lines, 0, sizeof lines);
    for (int64_t v = 0; v < height; ++v) {
        const uint8_t *restrict in = rows + v * (1 + bytes) + 1;
        const uint8_t *restrict above = lines[(v + 1) % 2] + CHANNELS;
        uint8_t *restrict line = lines[v % 2] + CHANNELS;
        switch (in[-1]) {
        case 0:
            memcpy(line, in, (size_t)bytes);
            break;
        case 1:
            for (int64_t i = 0; i < bytes; ++i) line[i] = (uint8_t)(in[i] + line[i - CHANNELS]);
            break;
        case 2:
            for (int64_t i = 0; i < bytes; ++i) line[i] = (uint8_t)(in[i] + above[i]);
            break;
        case 3:
            for (int64_t i = 0; i < bytes; ++i) line[i] = (uint8_t)(in[i] + (line[i - CHANNELS] + above[i]) / 2);
            break;
        case 4:
            for (int64_t i = 0; i < bytes; ++i)
                line[i] = (uint8_t)(in[i] + paeth(line[i - CHANNELS], above[i], above[i - CHANNELS]));
            break;
        default:
            return v;
        }
        for (int64_t u = 0; u < width; ++u)
            pixels[v * width + u] = (uint16_t)(line[CHANNELS * u + 1] << 8 | line[CHANNELS * u + 2]);
    }
    return -1;
}
