/* Every table of kernels that this machine runs against plain loops, over all tails: equal bit for bit. Prints the tables' names.
 *
 * Built with the kernels' own files, for the host and for arm64 (where qemu chooses the processor). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "numeric.h"

/* What numeric.c wants of the engine. */
int snn_fail(SnnNode *node, const char *format, ...) {
  (void)node, (void)format;
  return SNN_INVALID;
}
bool snn_is_quant8(int32_t type) { return type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM || type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED; }
const char *snn_type_name(int32_t type) { return type ? "" : ""; }

static uint32_t state = 12345;
static uint32_t random_bits(void) { return state = state * 1664525u + 1013904223u, state >> 8 ^ state << 13; }
static int32_t between(int32_t low, int32_t high) { return low + (int32_t)(random_bits() % (uint32_t)(high - low + 1)); }
static float random_float(void) { return (float)between(-20000, 20000) / 4096; }
static void fill(void *memory, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((uint8_t *)memory)[i] = (uint8_t)random_bits();
}
static int32_t number(SnnStored form, uint8_t byte) { return (form.is_signed ? (int8_t)byte : byte) - form.zero_point; }
static SnnStored random_form(void) {
  bool is_signed = random_bits() & 1;
  return (SnnStored){is_signed, is_signed ? between(-128, 127) : between(0, 255)};
}

static void require(bool equal, const SnnKernels *kernels, const char *what, uint32_t a, uint32_t b, uint32_t c) {
  if (equal) return;
  printf("%s: %s differs (%u, %u, %u)\n", kernels->name, what, a, b, c);
  exit(1);
}

enum { MAX_N = 150, MAX_K = 70, MAX_ROWS = 30, MAX_TAPS = 30, GUARD = 64 };
static _Alignas(64) char packed[1 << 20], converted[1 << 18];
static uint8_t left[MAX_ROWS * MAX_K + GUARD], weights[MAX_N * MAX_K + GUARD], have[1 << 16], want[1 << 16];
static float float_left[MAX_ROWS * MAX_K], float_weights[MAX_N * MAX_K], float_bias[MAX_N], float_have[1 << 14], float_want[1 << 14];
static int32_t bias[MAX_N], multiplier[MAX_N + 64], shifts[MAX_N + 64];

/* Factors around what makes sums fill the output's range; `odd` ones take the general form of the output stage. */
static SnnRequant random_requant(uint32_t n, double scale, bool odd) {
  SnnRequant r = {multiplier, shifts, true, random_bits() & 1, 0, 0, 0};
  for (uint32_t i = 0; i < MAX_N + 64; i++) {
    SnnMultiplier m = {0, 0};
    if (i < n) m = snn_quantize_multiplier(scale * (0.5 + random_bits() % 1000 / 700.0) * (odd && i % 3 == 0 ? 3 / scale : 1));
    multiplier[i] = m.multiplier;
    shifts[i] = snn_shifts(m.shift);
    if (m.shift >= 0 && m.multiplier != 0) r.plain = false;
  }
  int32_t least = r.is_signed ? -128 : 0;
  r.zero_point = between(least, least + 255);
  r.lo = between(least, least + 60);
  r.hi = between(least + 190, least + 255);
  return r;
}

static uint8_t scaled(int32_t sum, const SnnRequant *r, uint32_t channel) {
  SnnMultiplier m = {r->multiplier[channel], r->shifts[channel] >= 256 ? r->shifts[channel] >> 8 : -r->shifts[channel]};
  return (uint8_t)snn_clamp(snn_multiply(sum, m) + r->zero_point, r->lo, r->hi);
}

static void check_products(const SnnKernels *kernels, uint32_t n, uint32_t k, uint32_t rows) {
  SnnStored in = random_form(), form = random_form();
  fill(left, sizeof left);
  fill(weights, sizeof weights);
  for (uint32_t i = 0; i < n; i++) bias[i] = between(-9000, 9000);
  SnnWeights source = {weights, k, 0, 0, 1, n, 1, 1, k, NULL, NULL};
  SnnRequant requant = random_requant(n, 1.0 / (60 * k), random_bits() % 4 == 0);
  SnnQMatrix matrix = snn_qmatrix_pack(kernels, packed, &source, form, in, bias);
  static int32_t sums[MAX_ROWS];
  kernels->q_convert(converted, left, k, rows, k, in, sums);
  SnnTile tile = {converted, snn_converted_bytes(kernels, k), rows, sums, have, n + 3};
  memset(have, 0xa5, sizeof have);
  memset(want, 0xa5, sizeof want);
  kernels->q_multiply(&matrix, &requant, &tile);
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < n; j++) {
      int32_t sum = bias[j];
      for (uint32_t x = 0; x < k; x++) sum += number(in, left[i * k + x]) * number(form, weights[j * k + x]);
      want[i * (n + 3) + j] = scaled(sum, &requant, j);
    }
  }
  require(memcmp(have, want, sizeof have) == 0, kernels, "q_multiply", n, k, rows);
}

static void check_float_products(const SnnKernels *kernels, uint32_t n, uint32_t k, uint32_t rows) {
  for (uint32_t i = 0; i < rows * k; i++) float_left[i] = random_float();
  for (uint32_t i = 0; i < n * k; i++) float_weights[i] = random_float();
  for (uint32_t i = 0; i < n; i++) float_bias[i] = random_float();
  SnnWeights source = {float_weights, k, 0, 0, 1, n, 1, 1, k, NULL, NULL};
  SnnFMatrix matrix = snn_fmatrix_pack(kernels, packed, &source, float_bias, -100, 200);
  SnnTile tile = {float_left, k * sizeof(float), rows, NULL, float_have, (n + 3) * sizeof(float)};
  memset(float_have, 0, sizeof float_have);
  memset(float_want, 0, sizeof float_want);
  kernels->f_multiply[0](&matrix, &tile);
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < n; j++) {
      float sum = 0;
      for (uint32_t x = 0; x < k; x++) sum += float_left[i * k + x] * float_weights[j * k + x];
      float_want[i * (n + 3) + j] = snn_clampf(sum + float_bias[j], -100, 200);
    }
  }
  require(memcmp(float_have, float_want, sizeof float_have) == 0, kernels, "f_multiply", n, k, rows);
  kernels->f_multiply[1](&matrix, &tile);
  for (size_t i = 0; i < sizeof float_have / sizeof *float_have; i++) {
    require(fabsf(float_have[i] - float_want[i]) <= 1e-3f, kernels, "f_multiply fused", n, k, rows);
  }
}

/* A line of pixels; every tap starts somewhere in it. */
static void check_depthwise(const SnnKernels *kernels, uint32_t channels, uint32_t taps, uint32_t pixels) {
  static uint8_t line[(MAX_TAPS + 20) * MAX_N];
  static float float_line[(MAX_TAPS + 20) * MAX_N];
  const char *starts[MAX_TAPS + 4], *float_starts[MAX_TAPS + 4];
  SnnStored in = random_form(), form = random_form();
  fill(line, sizeof line);
  fill(weights, sizeof weights);
  for (size_t i = 0; i < sizeof float_line / sizeof *float_line; i++) float_line[i] = random_float();
  for (uint32_t i = 0; i < taps * channels; i++) float_weights[i] = random_float();
  for (uint32_t i = 0; i < channels; i++) bias[i] = between(-9000, 9000), float_bias[i] = random_float();
  for (uint32_t t = 0; t < taps; t++) {
    size_t at = (size_t)between(0, MAX_TAPS) * channels;
    starts[t] = (const char *)line + at;
    float_starts[t] = (const char *)(float_line + at);
  }
  for (uint32_t t = taps; t < taps + 4; t++) starts[t] = starts[0];
  SnnRequant requant = random_requant(channels, 1.0 / (60 * taps), random_bits() % 4 == 0);
  snn_qdepthwise_pack(kernels, packed, weights, taps, channels, form, in, bias, &requant);
  SnnQDepthwise depthwise = snn_qdepthwise_at(kernels, packed, taps, channels, form, in, &requant);
  memset(have, 0xa5, sizeof have);
  memset(want, 0xa5, sizeof want);
  const uint32_t step = channels + (random_bits() % 2 ? 5 : 0); /* pixels of the output with gaps, or without */
  SnnPixels run = {starts, taps, channels, pixels, channels, (char *)have, step};
  kernels->q_depthwise(&depthwise, &run);
  SnnPixels float_run = {float_starts, taps, channels * sizeof(float), pixels, channels, (char *)float_have, channels * sizeof(float)};
  kernels->f_depthwise[0](float_weights, float_bias, -100, 200, &float_run);
  for (uint32_t p = 0; p < pixels; p++) {
    for (uint32_t c = 0; c < channels; c++) {
      int32_t sum = bias[c];
      float real = 0;
      for (uint32_t t = 0; t < taps; t++) {
        sum += number(in, ((const uint8_t *)starts[t])[p * channels + c]) * number(form, weights[t * channels + c]);
        real += ((const float *)(const void *)float_starts[t])[p * channels + c] * float_weights[t * channels + c];
      }
      want[p * step + c] = scaled(sum, &requant, c);
      float expected = snn_clampf(real + float_bias[c], -100, 200);
      require(float_have[p * channels + c] == expected, kernels, "f_depthwise", channels, taps, pixels);
    }
  }
  require(memcmp(have, want, sizeof have) == 0, kernels, "q_depthwise", channels, taps, pixels);
}

static void check_pools(const SnnKernels *kernels, uint32_t channels, uint32_t rows, uint32_t columns) {
  static uint8_t image[16 * 18 * MAX_N];
  bool is_signed = random_bits() & 1;
  int32_t least = is_signed ? -128 : 0, lo = between(least, least + 40), hi = between(least + 200, least + 255);
  fill(image, sizeof image);
  SnnTaps taps = {image, 18 * channels, channels, rows, columns, channels, have};
  uint8_t max_have[MAX_N + GUARD];
  memset(have, 0xa5, sizeof have);
  memset(max_have, 0xa5, sizeof max_have);
  kernels->q_average(&taps, is_signed, lo, hi);
  taps.out = max_have;
  kernels->q_max(&taps, is_signed, lo, hi);
  for (uint32_t c = 0; c < channels; c++) {
    int32_t sum = 0, max = -1000, count = (int32_t)(rows * columns);
    for (uint32_t y = 0; y < rows; y++) {
      for (uint32_t x = 0; x < columns; x++) {
        int32_t value = number((SnnStored){is_signed, 0}, image[(y * 18 + x) * channels + c]);
        sum += value;
        max = value > max ? value : max;
      }
    }
    int32_t mean = sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
    require(have[c] == (uint8_t)snn_clamp(mean, lo, hi), kernels, "q_average", channels, rows, columns);
    require(max_have[c] == (uint8_t)snn_clamp(max, lo, hi), kernels, "q_max", channels, rows, columns);
  }
  require(have[channels] == 0xa5 && max_have[channels] == 0xa5, kernels, "end of a pool", channels, rows, columns);
}

static void check_rows(const SnnKernels *kernels, uint32_t count, uint32_t steps) {
  SnnStored a = random_form(), b = {a.is_signed, random_form().zero_point};
  b.zero_point = a.is_signed ? snn_clamp(b.zero_point, -128, 127) : snn_clamp(b.zero_point, 0, 255);
  int32_t least = a.is_signed ? -128 : 0;
  SnnMultiplier scale = snn_quantize_multiplier(0.01 + random_bits() % 400 / 1000.0), output = snn_quantize_multiplier(1.0 / (1 << 18));
  SnnMultiplier half = {1 << 30, 0}, product = snn_quantize_multiplier(0.004);
  bool first = random_bits() & 1, subtract = random_bits() & 1;
  SnnMultiplier scale_a = first ? half : scale, scale_b = first ? scale : half;
  SnnQPair pair = {{a, scale_a.multiplier, -scale_a.shift}, {b, scale_b.multiplier, -scale_b.shift}, subtract, a.is_signed,
                   {output.multiplier, -output.shift}, between(least, least + 255), least + 3, least + 250};
  ptrdiff_t step_a = steps & 1, step_b = steps >> 1;
  fill(left, sizeof left);
  fill(weights, sizeof weights);
  memset(have, 0xa5, sizeof have);
  kernels->q_add(&pair, left, step_a, weights, step_b, have, count);
  for (uint32_t i = 0; i < count; i++) {
    int32_t x = snn_multiply(number(a, left[i * (size_t)step_a]) * (1 << 20), scale_a);
    int32_t y = snn_multiply(number(b, weights[i * (size_t)step_b]) * (1 << 20), scale_b);
    int32_t sum = snn_multiply(subtract ? x - y : x + y, output) + pair.zero_point;
    require(have[i] == (uint8_t)snn_clamp(sum, pair.lo, pair.hi), kernels, "q_add", count, steps, i);
  }
  require(have[count] == 0xa5, kernels, "end of q_add", count, steps, 0);
  pair.output = (SnnMultiplierPair){product.multiplier, -product.shift};
  kernels->q_mul(&pair, left, step_a, weights, step_b, have, count);
  for (uint32_t i = 0; i < count; i++) {
    int32_t value = snn_multiply(number(a, left[i * (size_t)step_a]) * number(b, weights[i * (size_t)step_b]), product) + pair.zero_point;
    require(have[i] == (uint8_t)snn_clamp(value, pair.lo, pair.hi), kernels, "q_mul", count, steps, i);
  }
}

static void check_dot(const SnnKernels *kernels, uint32_t count) {
  SnnStored a = random_form(), b = random_form();
  fill(left, sizeof left);
  fill(weights, sizeof weights);
  int32_t sum = 0;
  for (uint32_t i = 0; i < count; i++) sum += number(a, left[i]) * number(b, weights[i]);
  require(kernels->q_dot(left, a, weights, b, count) == sum, kernels, "q_dot", count, 0, 0);
}

static void check(const SnnKernels *kernels) {
  for (uint32_t n = 1; n <= MAX_N; n += n < 70 ? 1 : 7) {
    check_products(kernels, n, (uint32_t)between(1, MAX_K), (uint32_t)between(1, MAX_ROWS));
    check_float_products(kernels, n, (uint32_t)between(1, MAX_K), (uint32_t)between(1, MAX_ROWS));
    check_depthwise(kernels, n, (uint32_t)between(1, MAX_TAPS), (uint32_t)between(1, 9));
    check_pools(kernels, n, (uint32_t)between(1, 15), (uint32_t)between(1, 17));
  }
  for (uint32_t rows = 1; rows <= MAX_ROWS; rows++) {
    check_products(kernels, 33, (uint32_t)between(1, MAX_K), rows);
    check_float_products(kernels, 33, (uint32_t)between(1, MAX_K), rows);
  }
  for (uint32_t k = 1; k <= MAX_K; k++) check_products(kernels, (uint32_t)between(1, MAX_N), k, 13);
  for (uint32_t taps = 1; taps <= MAX_TAPS; taps++) check_depthwise(kernels, (uint32_t)between(1, MAX_N), taps, 5);
  for (uint32_t count = 0; count <= 200; count++) check_dot(kernels, count);
  for (uint32_t count = 1; count <= 200; count++) check_rows(kernels, count, count % 4);
}

int main(void) {
  static const char *const names[] = {"baseline", "avx2", "avxvnni", "avx512vnni", "dotprod", "i8mm"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const SnnKernels *kernels = snn_kernels_find(names[i]);
    if (kernels == NULL) continue;
    check(kernels);
    puts(kernels->name);
  }
  return 0;
}
