/* The first interpolated sphere of a sphere mesh on a ray, or the one nearest to a place, map by map.
 *
 * Formulas and names are those of sphere_mesh_search.py. REAL is float or double; all arrays are contiguous. Indices of
 * primitives are REAL, which represents them exactly, and all parts of a selection have one type. Both let the compiler
 * vectorise the loops.
 */
#include <math.h>
#include <string.h>
#include <tgmath.h>

#include "native.h"

#define FLAT ((REAL)1e-4) /* as in sphere_mesh_search.py */
#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define MOST(a, b) ((a) > (b) ? (a) : (b))

typedef struct {
    int64_t points, links, triangles;
    const int64_t *link, *triangle; /* (L, 2), (T, 3) */
    const REAL *point, *radius;     /* (N, J, 3), (N, J) */
    int64_t *primitive;               /* (N, P) */
    REAL *weights;                  /* (N, P, 3) */
    int64_t size, queries;          /* for `seen`, for `nearest` */
    double pixel_mm, far;
    const REAL *query; /* (N, Q, 3) */
} job_t;

typedef struct {
    REAL start[3], along[3], radius, growth, rest, squared;
} link_t;

typedef struct {
    REAL start[3], radius, normal[3], second[3], third[3], height[3];
} side_t;

/* The best results so far. */
typedef struct {
    REAL *restrict least, *restrict who, *restrict second, *restrict third;
} best_t;

static REAL dot(const REAL *a, const REAL *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

static void cross(const REAL *a, const REAL *b, REAL *out) {
    for (int k = 0; k < 3; ++k) out[k] = a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3];
}

/* Whether the cone of a link exists; a non-finite link has none. */
static int link_of(const REAL *point, const REAL *radius, const int64_t *ends, link_t *out) {
    const REAL *a = point + 3 * ends[0], *b = point + 3 * ends[1];
    for (int k = 0; k < 3; ++k) {
        out->start[k] = a[k];
        out->along[k] = b[k] - a[k];
    }
    out->radius = radius[ends[0]];
    out->growth = radius[ends[1]] - radius[ends[0]];
    out->squared = dot(out->along, out->along);
    out->rest = out->squared - out->growth * out->growth;
    return out->rest > 0 && isfinite(out->squared);
}

/* Whether a triangle has its two tangent planes. */
static int sides_of(const REAL *point, const REAL *radius, const int64_t *corner, side_t out[2]) {
    const REAL *start = point + 3 * corner[0], r = radius[corner[0]];
    const REAL grow_one = radius[corner[1]] - r, grow_other = radius[corner[2]] - r;
    REAL one[3], other[3], upright[3];
    for (int k = 0; k < 3; ++k) {
        one[k] = point[3 * corner[1] + k] - start[k];
        other[k] = point[3 * corner[2] + k] - start[k];
    }
    const REAL a = dot(one, one), b = dot(one, other), c = dot(other, other), area2 = a * c - b * b;
    if (!(area2 > FLAT * a * c) || !isfinite(area2)) return 0;
    const REAL in_one = (b * grow_other - c * grow_one) / area2, in_other = (b * grow_one - a * grow_other) / area2;
    REAL within[3];
    for (int k = 0; k < 3; ++k) within[k] = in_one * one[k] + in_other * other[k];
    const REAL left = 1 - dot(within, within);
    if (!(left > FLAT)) return 0;
    cross(one, other, upright);
    const REAL stretch = sqrt(left / area2);
    for (int s = 0; s < 2; ++s) {
        side_t *side = out + s;
        for (int k = 0; k < 3; ++k) {
            side->start[k] = start[k];
            side->normal[k] = within[k] + (s ? -stretch : stretch) * upright[k];
        }
        side->radius = r;
        cross(other, side->normal, side->second);
        cross(side->normal, one, side->third);
        const REAL volume = dot(one, side->second);
        for (int k = 0; k < 3; ++k) {
            side->second[k] /= volume;
            side->third[k] /= volume;
            side->height[k] = upright[k] / volume;
        }
    }
    return 1;
}

static void take(best_t best, int64_t i, REAL better, REAL value, REAL who, REAL second, REAL third) {
    best.least[i] = better > 0 ? value : best.least[i];
    best.who[i] = better > 0 ? who : best.who[i];
    best.second[i] = better > 0 ? second : best.second[i];
    best.third[i] = better > 0 ? third : best.third[i];
}

static void answer(const job_t *job, int64_t first, int64_t count, best_t best) {
    for (int64_t i = 0; i < count; ++i) {
        job->primitive[first + i] = (int64_t)best.who[i];
        REAL *weights = job->weights + 3 * (first + i);
        weights[0] = 1 - best.second[i] - best.third[i];
        weights[1] = best.second[i];
        weights[2] = best.third[i];
    }
}

/* ---------------------------------------------------------------------------------------------------------- rays */

typedef struct {
    int64_t u0, u1, v0, v1;
} window_t;

/* The pixels that spheres and the surfaces between them can cover, with a margin of 1% against rounding at the rim.
 * The code bounds them before the conversion to integers: a sphere may lie anywhere. */
static window_t window_of(const job_t *job, const REAL *point, const REAL *radius, const int64_t *corner, int corners) {
    const double middle = (double)job->size / 2 - 0.5;
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int c = 0; c < corners; ++c)
        for (int k = 0; k < 2; ++k) {
            const double at = point[3 * corner[c] + k] / job->pixel_mm + middle;
            const double reach = (double)radius[corner[c]] / job->pixel_mm + 0.01;
            low[k] = LEAST(low[k], at - reach);
            high[k] = MOST(high[k], at + reach);
        }
    int64_t ends[4];
    for (int k = 0; k < 2; ++k) {
        ends[2 * k] = (int64_t)fmin(fmax(ceil(low[k]), 0), job->size);
        ends[2 * k + 1] = (int64_t)fmax(fmin(floor(high[k]), job->size - 1), -1);
    }
    return (window_t){ends[0], ends[1], ends[2], ends[3]};
}

static best_t row(best_t best, int64_t v, int64_t size) {
    return (best_t){best.least + v * size, best.who + v * size, best.second + v * size, best.third + v * size};
}

static void sphere_on_rays(const REAL *axis, window_t w, int64_t size, const REAL *at, REAL radius, REAL who, best_t best) {
    for (int64_t v = w.v0; v <= w.v1; ++v) {
        const best_t here = row(best, v, size);
        const REAL in_row = radius * radius - (axis[v] - at[1]) * (axis[v] - at[1]);
        for (int64_t u = w.u0; u <= w.u1; ++u) {
            const REAL gap = in_row - (axis[u] - at[0]) * (axis[u] - at[0]);
            const REAL value = at[2] - sqrt(MOST(gap, 0));
            const REAL better = gap >= 0 ? here.least[u] - value : 0;
            take(here, u, better, value, who, 0, 0);
        }
    }
}

static void link_on_rays(const REAL *axis, window_t w, int64_t size, const link_t *link, REAL who, best_t best) {
    const REAL ex = link->along[0], ey = link->along[1], ez = link->along[2];
    const REAL radius = link->radius, growth = link->growth, rest = link->rest, flat = ex * ex + ey * ey;
    for (int64_t v = w.v0; v <= w.v1; ++v) {
        const best_t here = row(best, v, size);
        const REAL y = axis[v] - link->start[1];
        for (int64_t u = w.u0; u <= w.u1; ++u) {
            const REAL x = axis[u] - link->start[0];
            const REAL squared = x * x + y * y, beside = x * ey - y * ex, axial = x * ex + y * ey;
            const REAL half = radius * growth + axial;
            const REAL inside =
                radius * radius * flat + growth * (2 * radius * axial + growth * squared) - beside * beside;
            const REAL root = sqrt(MOST(inside, 0) / rest), lean = ez * root;
            const REAL top = lean * half > 0 ? half * half - (radius * radius - squared) * ez * ez : lean - half;
            const REAL bottom = lean * half > 0 ? rest * (lean + half) : growth * growth - flat;
            const REAL part = top / bottom, value = link->start[2] + ez * part - root;
            REAL better = here.least[u] - value; /* NaN is in no range */
            better = inside >= 0 ? better : 0;
            better = part > 0 ? better : 0;
            better = part < 1 ? better : 0;
            take(here, u, better, value, who, part, 0);
        }
    }
}

static void side_on_rays(const REAL *axis, window_t w, int64_t size, const side_t *side, REAL who, best_t best) {
    if (!(side->normal[2] < -FLAT)) return;
    for (int64_t v = w.v0; v <= w.v1; ++v) {
        const best_t here = row(best, v, size);
        const REAL y = axis[v] - side->start[1];
        for (int64_t u = w.u0; u <= w.u1; ++u) {
            const REAL x = axis[u] - side->start[0];
            const REAL z = (side->radius - side->normal[0] * x - side->normal[1] * y) / side->normal[2];
            const REAL second = side->second[0] * x + side->second[1] * y + side->second[2] * z;
            const REAL third = side->third[0] * x + side->third[1] * y + side->third[2] * z;
            const REAL value = side->start[2] + z;
            REAL better = here.least[u] - value;
            better = second > 0 ? better : 0;
            better = third > 0 ? better : 0;
            better = second + third < 1 ? better : 0;
            take(here, u, better, value, who, second, third);
        }
    }
}

static void seen_of(const void *given, int64_t map) {
    const job_t *job = given;
    const int64_t size = job->size, pixels = size * size, count = job->points + job->links + job->triangles;
    const REAL *point = job->point + map * job->points * 3, *radius = job->radius + map * job->points;
    REAL axis[size], kept[4 * pixels];
    const best_t best = {kept, kept + pixels, kept + 2 * pixels, kept + 3 * pixels};
    for (int64_t u = 0; u < size; ++u) axis[u] = ((REAL)u + (REAL)0.5 - (REAL)size / 2) * (REAL)job->pixel_mm;
    memset(kept, 0, sizeof kept);
    for (int64_t i = 0; i < pixels; ++i) {
        best.least[i] = (REAL)job->far;
        best.who[i] = (REAL)count;
    }
    REAL who = 0;
    for (int64_t j = 0; j < job->points; ++j, ++who) {
        const REAL *at = point + 3 * j;
        if (!isfinite(at[0]) || !isfinite(at[1]) || !isfinite(at[2])) continue;
        sphere_on_rays(axis, window_of(job, point, radius, &j, 1), size, at, radius[j], who, best);
    }
    for (int64_t l = 0; l < job->links; ++l, ++who) {
        link_t link;
        if (link_of(point, radius, job->link + 2 * l, &link))
            link_on_rays(axis, window_of(job, point, radius, job->link + 2 * l, 2), size, &link, who, best);
    }
    for (int64_t t = 0; t < job->triangles; ++t, ++who) {
        side_t sides[2];
        if (!sides_of(point, radius, job->triangle + 3 * t, sides)) continue;
        const window_t window = window_of(job, point, radius, job->triangle + 3 * t, 3);
        for (int s = 0; s < 2; ++s) side_on_rays(axis, window, size, sides + s, who, best);
    }
    answer(job, map * pixels, pixels, best);
}

void seen(int64_t maps, int64_t threads, int64_t points, int64_t links, int64_t triangles, int64_t size,
          double pixel_mm, double far, const REAL *point, const REAL *radius, const int64_t *link,
          const int64_t *triangle, int64_t *primitive, REAL *weights) {
    const job_t job = {points, links, triangles, link, triangle, point, radius, primitive, weights, size, 0, pixel_mm, far, 0};
    share_out(seen_of, &job, maps, threads);
}

/* -------------------------------------------------------------------------------------------------------- places */

enum { BLOCK = 256 /* queries per block: compared with all primitives before the next block */ };

typedef struct {
    _Alignas(64) REAL x[BLOCK], y[BLOCK], z[BLOCK], least[BLOCK], who[BLOCK], second[BLOCK], third[BLOCK];
} block_t;

static void sphere_near(block_t *restrict b, const REAL *at, REAL radius, REAL who) {
    for (int q = 0; q < BLOCK; ++q) {
        const REAL dx = b->x[q] - at[0], dy = b->y[q] - at[1], dz = b->z[q] - at[2];
        const REAL value = sqrt(dx * dx + dy * dy + dz * dz) - radius;
        const REAL better = b->least[q] - value;
        b->least[q] = better > 0 ? value : b->least[q];
        b->who[q] = better > 0 ? who : b->who[q];
    }
}

static void link_near(block_t *restrict b, const link_t *link, REAL who) {
    const REAL ex = link->along[0], ey = link->along[1], ez = link->along[2], by = 1 / link->squared;
    const REAL slope = link->growth / sqrt(link->rest * link->squared);
    for (int q = 0; q < BLOCK; ++q) {
        const REAL x = b->x[q] - link->start[0], y = b->y[q] - link->start[1], z = b->z[q] - link->start[2];
        const REAL at = (x * ex + y * ey + z * ez) * by;
        const REAL hx = x - at * ex, hy = y - at * ey, hz = z - at * ez;
        const REAL part = at + sqrt(hx * hx + hy * hy + hz * hz) * slope;
        const REAL dx = x - part * ex, dy = y - part * ey, dz = z - part * ez;
        const REAL value = sqrt(dx * dx + dy * dy + dz * dz) - link->radius - link->growth * part;
        REAL better = b->least[q] - value;
        better = part > 0 ? better : 0;
        better = part < 1 ? better : 0;
        b->least[q] = better > 0 ? value : b->least[q];
        b->who[q] = better > 0 ? who : b->who[q];
        b->second[q] = better > 0 ? part : b->second[q];
        b->third[q] = better > 0 ? 0 : b->third[q];
    }
}

static void side_near(block_t *restrict b, const side_t *side, REAL who) {
    for (int q = 0; q < BLOCK; ++q) {
        const REAL place[3] = {b->x[q] - side->start[0], b->y[q] - side->start[1], b->z[q] - side->start[2]};
        const REAL second = dot(side->second, place), third = dot(side->third, place);
        const REAL value = dot(side->normal, place) - side->radius;
        REAL better = b->least[q] - value;
        better = second > 0 ? better : 0;
        better = third > 0 ? better : 0;
        better = second + third < 1 ? better : 0;
        better = dot(side->height, place) >= 0 ? better : 0;
        b->least[q] = better > 0 ? value : b->least[q];
        b->who[q] = better > 0 ? who : b->who[q];
        b->second[q] = better > 0 ? second : b->second[q];
        b->third[q] = better > 0 ? third : b->third[q];
    }
}

static void nearest_of(const void *given, int64_t map) {
    const job_t *job = given;
    const REAL *point = job->point + map * job->points * 3, *radius = job->radius + map * job->points;
    link_t links[job->links + 1]; /* one more: an array needs a length above 0 */
    side_t sides[2 * job->triangles + 2];
    int8_t cone[job->links + 1], plane[job->triangles + 1];
    for (int64_t l = 0; l < job->links; ++l) cone[l] = (int8_t)link_of(point, radius, job->link + 2 * l, links + l);
    for (int64_t t = 0; t < job->triangles; ++t)
        plane[t] = (int8_t)sides_of(point, radius, job->triangle + 3 * t, sides + 2 * t);
    /* A NaN sphere is nearest to everything, as in a minimum over tensors: the loss must show it. */
    int64_t lost = -1;
    for (int64_t j = job->points - 1; j >= 0; --j)
        if (isnan(point[3 * j]) || isnan(point[3 * j + 1]) || isnan(point[3 * j + 2])) lost = j;

    for (int64_t start = 0; start < job->queries; start += BLOCK) {
        const int64_t count = LEAST(job->queries - start, BLOCK), first = map * job->queries + start;
        block_t block;
        memset(&block, 0, sizeof block);
        for (int64_t q = 0; q < count; ++q) {
            block.x[q] = job->query[3 * (first + q)];
            block.y[q] = job->query[3 * (first + q) + 1];
            block.z[q] = job->query[3 * (first + q) + 2];
        }
        for (int q = 0; q < BLOCK; ++q) {
            block.least[q] = INFINITY;
            block.who[q] = (REAL)MOST(lost, 0);
        }
        if (lost < 0) {
            REAL who = 0;
            for (int64_t j = 0; j < job->points; ++j, ++who) sphere_near(&block, point + 3 * j, radius[j], who);
            for (int64_t l = 0; l < job->links; ++l, ++who)
                if (cone[l]) link_near(&block, links + l, who);
            for (int64_t t = 0; t < job->triangles; ++t, ++who)
                for (int s = 0; s < 2 && plane[t]; ++s) side_near(&block, sides + 2 * t + s, who);
        }
        answer(job, first, count, (best_t){block.least, block.who, block.second, block.third});
    }
}

void nearest(int64_t maps, int64_t threads, int64_t points, int64_t links, int64_t triangles, int64_t queries,
             const REAL *point, const REAL *radius, const int64_t *link, const int64_t *triangle, const REAL *query,
             int64_t *primitive, REAL *weights) {
    const job_t job = {points, links, triangles, link, triangle, point, radius, primitive, weights, 0, queries, 0, 0, query};
    share_out(nearest_of, &job, maps, threads);
}
