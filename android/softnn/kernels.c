#include "kernels.h"

#include <string.h>

#include "numeric.h"

/* Packed weights: for each panel of `columns` output channels, for each unit of depth, columns x unit elements. */

static size_t panels(size_t n, size_t columns) { return (n + columns - 1) / columns; }

size_t snn_converted_bytes(const SnnKernels *kernels, size_t k) { return snn_align(k, kernels->q_unit) * kernels->q_element; }

uint32_t snn_packing_tag(const SnnKernels *kernels) {
  return kernels->q_columns | kernels->q_unit << 8 | kernels->q_element << 12 | kernels->f_columns << 16;
}

static bool packed_bytes(size_t n, size_t k, size_t columns, size_t unit, size_t element, size_t *weights, size_t *all) {
  size_t padded_n = panels(n, columns) * columns, padded_k = snn_align(k, unit);
  size_t elements, bytes, bias;
  if (!snn_size_mul(padded_n, padded_k, &elements) || !snn_size_mul(elements, element, &bytes)) return false;
  if (!snn_size_mul(padded_n, 4, &bias) || bytes > SIZE_MAX - 128 - bias) return false;
  *weights = snn_align(bytes, 64);
  *all = *weights + snn_align(bias, 64);
  return true;
}

bool snn_qmatrix_bytes(const SnnKernels *kernels, size_t n, size_t k, size_t *bytes) {
  size_t weights;
  return packed_bytes(n, k, kernels->q_columns, kernels->q_unit, kernels->q_element, &weights, bytes);
}

bool snn_fmatrix_bytes(const SnnKernels *kernels, size_t n, size_t k, size_t *bytes) {
  size_t weights;
  return packed_bytes(n, k, kernels->f_columns, 1, sizeof(float), &weights, bytes);
}

/* The converted input is unsigned in the 8-bit format: its zero point there, and that of the (signed) weights. */
static int32_t unsigned_zero(SnnStored form) { return form.zero_point + (form.is_signed ? 128 : 0); }
static int32_t signed_zero(SnnStored form) { return form.zero_point - (form.is_signed ? 0 : 128); }

SnnQMatrix snn_qmatrix_at(const SnnKernels *kernels, const void *memory, size_t n, size_t k, SnnStored weight_form) {
  size_t weights = 0, all;
  packed_bytes(n, k, kernels->q_columns, kernels->q_unit, kernels->q_element, &weights, &all);
  int32_t factor = kernels->q_element == 1 ? -signed_zero(weight_form) : 0;
  return (SnnQMatrix){(uint32_t)n, (uint32_t)k, memory, (const int32_t *)((const char *)memory + weights), factor};
}

SnnFMatrix snn_fmatrix_at(const SnnKernels *kernels, const void *memory, size_t n, size_t k, float lo, float hi) {
  size_t weights = 0, all;
  packed_bytes(n, k, kernels->f_columns, 1, sizeof(float), &weights, &all);
  return (SnnFMatrix){(uint32_t)n, (uint32_t)k, memory, (const float *)((const char *)memory + weights), lo, hi};
}

/* One column (output channel): element number k of depth goes to unit k / unit, place k % unit. */
typedef struct {
  char *panel;
  size_t column, columns, unit;
} Column;

static inline size_t column_place(const Column *to, size_t k) {
  return (k / to->unit * to->columns + to->column) * to->unit + k % to->unit;
}

static int32_t pack_q8_run(const Column *to, size_t k, const uint8_t *from, ptrdiff_t step, size_t count, uint8_t flip) {
  uint8_t *panel = (uint8_t *)to->panel;
  int32_t sum = 0;
  for (size_t c = 0; c < count; c++, k++) {
    uint8_t w = from[(ptrdiff_t)c * step] ^ flip;
    panel[column_place(to, k)] = w;
    sum += (int8_t)w;
  }
  return sum;
}

static void pack_q16_run(const Column *to, size_t k, const uint8_t *from, ptrdiff_t step, size_t count, SnnStored form) {
  int16_t *panel = (int16_t *)to->panel;
  for (size_t c = 0; c < count; c++, k++) {
    uint8_t stored = from[(ptrdiff_t)c * step];
    int32_t value = form.is_signed ? (int8_t)stored : stored;
    panel[column_place(to, k)] = (int16_t)(value - form.zero_point);
  }
}

/* All taps of one output channel; returns the sum of its weights in the 8-bit format. */
static int32_t pack_q_column(const Column *to, const SnnWeights *weights, size_t n, SnnStored form, size_t element) {
  const uint8_t *base = (const uint8_t *)weights->base + (ptrdiff_t)n * weights->stride_n;
  uint8_t flip = form.is_signed ? 0 : 0x80;
  int32_t sum = 0;
  size_t k = 0;
  for (uint32_t y = 0; y < weights->ny; y++) {
    for (uint32_t x = 0; x < weights->nx; x++, k += weights->nc) {
      const uint8_t *from = base + (ptrdiff_t)y * weights->stride_y + (ptrdiff_t)x * weights->stride_x;
      if (element == 1) sum += pack_q8_run(to, k, from, weights->stride_c, weights->nc, flip);
      else pack_q16_run(to, k, from, weights->stride_c, weights->nc, form);
    }
  }
  return sum;
}

SnnQMatrix snn_qmatrix_pack(const SnnKernels *kernels, void *memory, const SnnWeights *weights, SnnStored weight_form,
                            SnnStored input_form, const int32_t *bias) {
  size_t k = (size_t)weights->ny * weights->nx * weights->nc, columns = kernels->q_columns;
  SnnQMatrix matrix = snn_qmatrix_at(kernels, memory, weights->n, k, weight_form);
  size_t panel_bytes = columns * snn_align(k, kernels->q_unit) * kernels->q_element;
  size_t count = panels(weights->n, columns);
  memset(memory, 0, count * panel_bytes);
  int32_t *folded = (int32_t *)((char *)memory + ((const char *)matrix.bias - (const char *)memory));
  int32_t input_zero = unsigned_zero(input_form), weight_zero = signed_zero(weight_form);
  for (size_t n = 0; n < count * columns; n++) {
    folded[n] = 0;
    if (n >= weights->n) continue;
    Column to = {(char *)memory + n / columns * panel_bytes, n % columns, columns, kernels->q_unit};
    int32_t sum = pack_q_column(&to, weights, n, weight_form, kernels->q_element);
    /* sum (a - za)(w - zw) = sum a w - za sum w - zw sum a + k za zw; the third term needs the row. Wraps like the accumulator. */
    uint32_t corrected = bias ? (uint32_t)bias[n] : 0;
    if (kernels->q_element == 1) {
      corrected -= (uint32_t)input_zero * (uint32_t)sum;
      corrected += (uint32_t)k * (uint32_t)input_zero * (uint32_t)weight_zero;
    }
    folded[n] = (int32_t)corrected;
  }
  return matrix;
}

SnnFMatrix snn_fmatrix_pack(const SnnKernels *kernels, void *memory, const SnnWeights *weights, const float *bias, float lo, float hi) {
  size_t k = (size_t)weights->ny * weights->nx * weights->nc, columns = kernels->f_columns;
  SnnFMatrix matrix = snn_fmatrix_at(kernels, memory, weights->n, k, lo, hi);
  float *packed = memory, *padded_bias = packed + (matrix.bias - matrix.weights);
  for (size_t n0 = 0; n0 < weights->n; n0 += columns) {
    float *panel = packed + n0 * k;
    for (size_t column = 0; column < columns; column++) {
      size_t n = n0 + column;
      bool real = n < weights->n;
      padded_bias[n] = real && bias ? bias[n] : 0;
      float *to = panel + column;
      for (uint32_t y = 0; y < weights->ny; y++) {
        for (uint32_t x = 0; x < weights->nx; x++) {
          const float *from = (const float *)weights->base + (real ? (ptrdiff_t)n * weights->stride_n : 0) +
                              (ptrdiff_t)y * weights->stride_y + (ptrdiff_t)x * weights->stride_x;
          for (uint32_t c = 0; c < weights->nc; c++, to += columns) *to = real ? from[(ptrdiff_t)c * weights->stride_c] : 0;
        }
      }
    }
  }
  return matrix;
}
