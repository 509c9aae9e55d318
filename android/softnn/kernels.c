#include "kernels.h"

#include <string.h>

#include "numeric.h"

/* Packed weights: for each panel of `columns` output channels (the last may be a narrow one), for each unit of depth, columns x unit elements. */

/* The end of a packed product. */
typedef struct {
  uint64_t largest; /* no result of a quantised product is greater, positive or negative */
  char unused[56];
} Trailer;

static const uint64_t bound = (uint64_t)1 << 30; /* see SnnQMatrix.bounded */

static size_t panels(size_t n, size_t columns) { return (n + columns - 1) / columns; }

/* Columns of the panel that begins with output n0 of n. */
static size_t panel_columns(const SnnKernels *kernels, size_t n, size_t n0, size_t columns) {
  return n - n0 <= kernels->narrow ? kernels->narrow : columns;
}

/* Columns of all panels. */
static size_t padded_columns(const SnnKernels *kernels, size_t n, size_t columns) {
  size_t before = n == 0 ? 0 : (n - 1) / columns * columns;
  return n == 0 ? 0 : before + panel_columns(kernels, n, before, columns);
}

size_t snn_converted_bytes(const SnnKernels *kernels, size_t k) { return snn_align(k, kernels->q_unit) * kernels->q_element; }

uint32_t snn_packing_tag(const SnnKernels *kernels) {
  uint32_t quantized = kernels->q_columns | kernels->q_unit << 8 | kernels->q_element << 12 | (uint32_t)kernels->q_signed << 24;
  return quantized | kernels->f_columns << 16 | kernels->dw_vectors << 25;
}

/* Of blocks of this height: each costs weights as well as rows. */
static uint64_t blocks_cost(uint32_t rows, uint32_t height) { return (uint64_t)((rows + height - 1) / height) * (2 * height + 3); }

uint32_t snn_block_height(uint32_t rows, uint32_t heights) {
  uint32_t best = 1;
  uint64_t least = UINT64_MAX;
  for (uint32_t height = 1; height <= rows && height < 32; height++) {
    uint64_t cost = blocks_cost(rows, height);
    if ((heights >> height & 1) && cost <= least) {
      best = height;
      least = cost;
    }
  }
  return best;
}

uint64_t snn_block_cost(uint32_t rows, uint32_t heights) { return blocks_cost(rows, snn_block_height(rows, heights)); }

static bool packed_bytes(const SnnKernels *kernels, size_t n, size_t k, size_t columns, size_t unit, size_t element, size_t *weights, size_t *all) {
  size_t padded_n = padded_columns(kernels, n, columns), padded_k = snn_align(k, unit);
  size_t elements, bytes, bias;
  if (!snn_size_mul(padded_n, padded_k, &elements) || !snn_size_mul(elements, element, &bytes)) return false;
  if (!snn_size_mul(padded_n, 4, &bias) || bytes > SIZE_MAX - 128 - bias) return false;
  *weights = snn_align(bytes, 64);
  *all = *weights + snn_align(bias, 64) + sizeof(Trailer);
  return true;
}

bool snn_qmatrix_bytes(const SnnKernels *kernels, size_t n, size_t k, size_t *bytes) {
  size_t weights;
  return packed_bytes(kernels, n, k, kernels->q_columns, kernels->q_unit, kernels->q_element, &weights, bytes);
}

bool snn_fmatrix_bytes(const SnnKernels *kernels, size_t n, size_t k, size_t *bytes) {
  size_t weights;
  return packed_bytes(kernels, n, k, kernels->f_columns, 1, sizeof(float), &weights, bytes);
}

/* Zero points in the 8-bit format: of the converted input, and of the weights, which are signed there. */
static int32_t signed_zero(SnnStored form) { return form.zero_point - (form.is_signed ? 0 : 128); }
static int32_t converted_zero(const SnnKernels *kernels, SnnStored form) { return signed_zero(form) + (kernels->q_signed ? 0 : 128); }

SnnQMatrix snn_qmatrix_at(const SnnKernels *kernels, const void *memory, size_t n, size_t k, SnnStored weight_form) {
  size_t weights = 0, all = sizeof(Trailer);
  packed_bytes(kernels, n, k, kernels->q_columns, kernels->q_unit, kernels->q_element, &weights, &all);
  int32_t factor = kernels->q_element == 1 ? -signed_zero(weight_form) : 0;
  const char *bytes = memory;
  const Trailer *trailer = (const Trailer *)(const void *)(bytes + all - sizeof(Trailer));
  return (SnnQMatrix){(uint32_t)n, (uint32_t)k, memory, (const int32_t *)(const void *)(bytes + weights), factor, trailer->largest < bound};
}

SnnFMatrix snn_fmatrix_at(const SnnKernels *kernels, const void *memory, size_t n, size_t k, float lo, float hi) {
  size_t weights = 0, all;
  packed_bytes(kernels, n, k, kernels->f_columns, 1, sizeof(float), &weights, &all);
  return (SnnFMatrix){(uint32_t)n, (uint32_t)k, memory, (const float *)((const char *)memory + weights), lo, hi};
}

SnnQMatrix snn_qmatrix_part(const SnnKernels *kernels, const SnnQMatrix *matrix, uint32_t first, uint32_t count) {
  SnnQMatrix part = *matrix;
  part.n = count;
  part.weights = (const char *)matrix->weights + first * snn_converted_bytes(kernels, matrix->k);
  part.bias += first;
  return part;
}

SnnFMatrix snn_fmatrix_part(const SnnFMatrix *matrix, uint32_t first, uint32_t count) {
  SnnFMatrix part = *matrix;
  part.n = count;
  part.weights += (size_t)first * matrix->k;
  part.bias += first;
  return part;
}

/* One column (output channel): element number k of depth goes to unit k / unit, place k % unit. */
typedef struct {
  char *panel;
  size_t column, columns, unit;
} Column;

static inline size_t column_place(const Column *to, size_t k) {
  return (k / to->unit * to->columns + to->column) * to->unit + k % to->unit;
}

enum { RUN = 1 << 20 }; /* weights whose sums fit 32 bits */

/* Over the weights of one output channel: the sum (8-bit format), and of their distances to the zero point. */
typedef struct {
  int32_t sum;
  uint64_t distance;
} ColumnSums;

/* A run of bytes that lie side by side, from a multiple of the unit on: whole units at once. Returns how many were packed. */
static size_t pack_q8_units(const Column *to, size_t k, const uint8_t *from, size_t count, uint8_t flip) {
  uint64_t mask = flip * 0x0101010101010101u;
  char *place = to->panel + column_place(to, k);
  size_t done = 0, step = to->unit * to->columns;
  if (k % to->unit != 0) return 0;
  if (to->unit == 4) {
    for (; done + 4 <= count; done += 4, place += step) {
      uint32_t four;
      memcpy(&four, from + done, 4);
      four ^= (uint32_t)mask;
      memcpy(place, &four, 4);
    }
  } else if (to->unit == 8) {
    for (; done + 8 <= count; done += 8, place += step) {
      uint64_t eight;
      memcpy(&eight, from + done, 8);
      eight ^= mask;
      memcpy(place, &eight, 8);
    }
  }
  return done;
}

static void pack_q_run(const Column *to, size_t k, const uint8_t *from, ptrdiff_t step, size_t count, SnnStored form, size_t element,
                       ColumnSums *sums) {
  uint8_t *bytes = (uint8_t *)to->panel, flip = form.is_signed ? 0 : 0x80;
  int16_t *words = (int16_t *)(void *)to->panel;
  int32_t sum = 0, zero = signed_zero(form);
  uint32_t distance = 0;
  for (size_t c = 0; c < count; c++) {
    int32_t w = (int8_t)(from[(ptrdiff_t)c * step] ^ flip), centred = w - zero;
    sum += w;
    distance += (uint32_t)(centred < 0 ? -centred : centred);
  }
  sums->sum += sum;
  sums->distance += distance;
  size_t done = element == 1 && step == 1 ? pack_q8_units(to, k, from, count, flip) : 0;
  for (size_t c = done; c < count; c++) {
    uint8_t w = from[(ptrdiff_t)c * step] ^ flip;
    size_t place = column_place(to, k + c);
    if (element == 1) bytes[place] = w;
    else words[place] = (int16_t)((int8_t)w - zero);
  }
}

/* All taps of one output channel. */
static ColumnSums pack_q_column(const Column *to, const SnnWeights *weights, size_t n, SnnStored form, size_t element) {
  const uint8_t *base = (const uint8_t *)weights->base + (ptrdiff_t)n * weights->stride_n;
  ColumnSums sums = {0, 0};
  size_t k = 0;
  for (uint32_t y = 0; y < weights->ny; y++) {
    for (uint32_t x = 0; x < weights->nx; x++, k += weights->nc) {
      const uint8_t *from = base + (ptrdiff_t)y * weights->stride_y + (ptrdiff_t)x * weights->stride_x;
      for (size_t c = 0; c < weights->nc; c += RUN) {
        size_t count = weights->nc - c < RUN ? weights->nc - c : RUN;
        pack_q_run(to, k + c, from + (ptrdiff_t)c * weights->stride_c, weights->stride_c, count, form, element, &sums);
      }
    }
  }
  return sums;
}

/* The greatest result that a bias and weights of this distance can give. */
static uint64_t greatest(int32_t bias, uint64_t distance) { return (uint64_t)(bias < 0 ? -(int64_t)bias : bias) + 255 * distance; }

/* After output n: tells of the outputs since `told`, once they are many bytes. */
static size_t tell_packed(const SnnWeights *weights, size_t element, size_t told, size_t n) {
  enum { MANY = 256 << 10 };
  size_t row = (size_t)weights->stride_n * element, bytes = (n - told) * row;
  if (weights->packed == NULL || bytes < MANY) return told;
  weights->packed(weights->node, (const char *)weights->base + told * row, bytes);
  return n;
}

SnnQMatrix snn_qmatrix_pack(const SnnKernels *kernels, void *memory, const SnnWeights *weights, SnnStored weight_form,
                            SnnStored input_form, const int32_t *bias) {
  size_t k = (size_t)weights->ny * weights->nx * weights->nc, columns = kernels->q_columns;
  SnnQMatrix matrix = snn_qmatrix_at(kernels, memory, weights->n, k, weight_form);
  size_t column_bytes = snn_align(k, kernels->q_unit) * kernels->q_element, padded = padded_columns(kernels, weights->n, columns);
  memset(memory, 0, padded * column_bytes);
  int32_t *folded = (int32_t *)((char *)memory + ((const char *)matrix.bias - (const char *)memory));
  int32_t input_zero = converted_zero(kernels, input_form), weight_zero = signed_zero(weight_form);
  Trailer *trailer = (Trailer *)(void *)((char *)folded + snn_align(padded * sizeof(int32_t), 64));
  trailer->largest = 0;
  size_t told = 0;
  for (size_t n = 0; n < padded; n++) {
    folded[n] = 0;
    if (n >= weights->n) continue;
    told = tell_packed(weights, 1, told, n);
    size_t n0 = n / columns * columns;
    Column to = {(char *)memory + n0 * column_bytes, n - n0, panel_columns(kernels, weights->n, n0, columns), kernels->q_unit};
    ColumnSums sums = pack_q_column(&to, weights, n, weight_form, kernels->q_element);
    uint64_t largest = greatest(bias ? bias[n] : 0, sums.distance);
    if (largest > trailer->largest) trailer->largest = largest;
    /* sum (a - za)(w - zw) = sum a w - za sum w - zw sum a + k za zw; the third term needs the row. Wraps like the accumulator. */
    uint32_t corrected = bias ? (uint32_t)bias[n] : 0;
    if (kernels->q_element == 1) {
      corrected -= (uint32_t)input_zero * (uint32_t)sums.sum;
      corrected += (uint32_t)k * (uint32_t)input_zero * (uint32_t)weight_zero;
    }
    folded[n] = (int32_t)corrected;
  }
  matrix.bounded = trailer->largest < bound;
  return matrix;
}

typedef float Four __attribute__((vector_size(16), aligned(4)));

/* Four rows of `count` become four neighbouring columns, `columns` apart downwards. */
static void transpose_four(float *to, size_t columns, const float *from, ptrdiff_t stride, uint32_t count) {
  uint32_t c = 0;
  for (; c + 4 <= count; c += 4, from += 4, to += 4 * columns) {
    Four a = *(const Four *)(const void *)from, b = *(const Four *)(const void *)(from + stride);
    Four d = *(const Four *)(const void *)(from + 2 * stride), e = *(const Four *)(const void *)(from + 3 * stride);
    Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), de = __builtin_shufflevector(d, e, 0, 4, 1, 5);
    Four high_ab = __builtin_shufflevector(a, b, 2, 6, 3, 7), high_de = __builtin_shufflevector(d, e, 2, 6, 3, 7);
    *(Four *)(void *)to = __builtin_shufflevector(ab, de, 0, 1, 4, 5);
    *(Four *)(void *)(to + columns) = __builtin_shufflevector(ab, de, 2, 3, 6, 7);
    *(Four *)(void *)(to + 2 * columns) = __builtin_shufflevector(high_ab, high_de, 0, 1, 4, 5);
    *(Four *)(void *)(to + 3 * columns) = __builtin_shufflevector(high_ab, high_de, 2, 3, 6, 7);
  }
  for (; c < count; c++, from++, to += columns) {
    for (int i = 0; i < 4; i++) to[i] = from[i * stride];
  }
}

/* Columns [column, column + width) of a panel, from output n on; those behind the last output are zeros. */
static void pack_f_columns(float *to, size_t columns, const SnnWeights *weights, size_t n, uint32_t width) {
  bool real = n < weights->n;
  for (uint32_t y = 0; y < weights->ny; y++) {
    for (uint32_t x = 0; x < weights->nx; x++, to += weights->nc * columns) {
      const float *from = (const float *)weights->base + (real ? (ptrdiff_t)n * weights->stride_n : 0) + (ptrdiff_t)y * weights->stride_y +
                          (ptrdiff_t)x * weights->stride_x;
      if (width == 4) {
        transpose_four(to, columns, from, weights->stride_n, weights->nc);
        continue;
      }
      for (uint32_t c = 0; c < weights->nc; c++) to[c * columns] = real ? from[(ptrdiff_t)c * weights->stride_c] : 0;
    }
  }
}

SnnFMatrix snn_fmatrix_pack(const SnnKernels *kernels, void *memory, const SnnWeights *weights, const float *bias, float lo, float hi) {
  size_t k = (size_t)weights->ny * weights->nx * weights->nc;
  SnnFMatrix matrix = snn_fmatrix_at(kernels, memory, weights->n, k, lo, hi);
  float *packed = memory, *padded_bias = packed + (matrix.bias - matrix.weights);
  size_t told = 0;
  for (size_t n0 = 0, columns; n0 < weights->n; n0 += columns) {
    float *panel = packed + n0 * k;
    columns = panel_columns(kernels, weights->n, n0, kernels->f_columns);
    told = tell_packed(weights, sizeof(float), told, n0);
    for (size_t n = n0; n < n0 + columns; n++) padded_bias[n] = n < weights->n && bias ? bias[n] : 0;
    for (size_t column = 0, width; column < columns; column += width) {
      width = weights->stride_c == 1 && column + 4 <= columns && n0 + column + 4 <= weights->n ? 4 : 1;
      pack_f_columns(panel + column, columns, weights, n0 + column, (uint32_t)width);
    }
  }
  return matrix;
}

/* --- depthwise --- */

typedef struct {
  size_t blocks, places, groups, block_bytes, arrays_at, all;
} DepthwisePlan;

static bool plan_depthwise(const SnnKernels *kernels, size_t taps, size_t channels, DepthwisePlan *plan) {
  plan->blocks = panels(channels, kernels->dw_block);
  plan->places = plan->blocks * kernels->dw_block;
  plan->groups = panels(taps, kernels->dw_group);
  size_t block = (size_t)kernels->dw_block * kernels->dw_group * kernels->dw_element, weights, arrays;
  if (!snn_size_mul(plan->groups, block, &plan->block_bytes) || !snn_size_mul(plan->block_bytes, plan->blocks, &weights)) return false;
  if (!snn_size_mul(plan->places, 3 * sizeof(int32_t), &arrays) || weights > SIZE_MAX / 2 || arrays > SIZE_MAX / 4) return false;
  plan->arrays_at = weights;
  plan->all = weights + snn_align(arrays, 64) + sizeof(Trailer);
  return true;
}

bool snn_qdepthwise_bytes(const SnnKernels *kernels, size_t taps, size_t channels, size_t *bytes) {
  DepthwisePlan plan;
  if (!plan_depthwise(kernels, taps, channels, &plan)) return false;
  *bytes = plan.all;
  return true;
}

/* The channel of place number `place`, or SIZE_MAX: lanes lie as kernels_depthwise.h tells, and a narrow last block repeats its channels. */
static size_t channel_of(const SnnKernels *kernels, size_t channels, size_t place) {
  size_t block = kernels->dw_block, lanes = block / kernels->dw_vectors, at = place % block, first = place - at;
  size_t vector = at / lanes, lane = at % lanes, within = (lane / 4 * kernels->dw_vectors + vector) * 4 + lane % 4;
  size_t rest = channels - first;
  if (rest <= kernels->dw_narrow[0]) within %= kernels->dw_narrow[0];
  else if (rest <= kernels->dw_narrow[1]) within %= kernels->dw_narrow[1];
  return within < rest ? first + within : SIZE_MAX;
}

void snn_qdepthwise_pack(const SnnKernels *kernels, void *memory, const uint8_t *weights, size_t taps, size_t channels, SnnStored weight_form,
                         SnnStored input_form, const int32_t *bias, const SnnRequant *requant) {
  DepthwisePlan plan;
  if (!plan_depthwise(kernels, taps, channels, &plan)) return;
  int32_t *folded = (int32_t *)(void *)((char *)memory + plan.arrays_at), *multiplier = folded + plan.places;
  int32_t *shifts = multiplier + plan.places;
  Trailer *trailer = (Trailer *)(void *)((char *)memory + plan.all - sizeof(Trailer));
  memset(memory, 0, plan.all);
  uint8_t flip = weight_form.is_signed ? 0 : 0x80;
  int32_t input_zero = converted_zero(kernels, input_form), weight_zero = signed_zero(weight_form);
  for (size_t place = 0; place < plan.places; place++) {
    size_t channel = channel_of(kernels, channels, place);
    if (channel == SIZE_MAX) continue;
    char *block = (char *)memory + place / kernels->dw_block * plan.block_bytes;
    uint32_t sum = 0;
    uint64_t distance = 0;
    for (size_t t = 0; t < taps; t++) {
      uint8_t stored = weights[t * channels + channel];
      int32_t centred = (weight_form.is_signed ? (int8_t)stored : stored) - weight_form.zero_point;
      size_t at = (t / kernels->dw_group * kernels->dw_block + place % kernels->dw_block) * kernels->dw_group + t % kernels->dw_group;
      if (kernels->dw_element == 1) ((uint8_t *)block)[at] = stored ^ flip;
      else ((int16_t *)(void *)block)[at] = (int16_t)centred;
      sum += (uint32_t)(int8_t)(stored ^ flip);
      distance += (uint64_t)(centred < 0 ? -centred : centred);
    }
    uint32_t corrected = (uint32_t)bias[channel];
    if (kernels->dw_element == 1) {
      corrected -= (uint32_t)input_zero * sum;
      corrected += (uint32_t)taps * (uint32_t)input_zero * (uint32_t)weight_zero;
    }
    folded[place] = (int32_t)corrected;
    multiplier[place] = requant->multiplier[channel];
    shifts[place] = requant->shifts[channel];
    uint64_t largest = greatest(bias[channel], distance);
    if (largest > trailer->largest) trailer->largest = largest;
  }
}

SnnQDepthwise snn_qdepthwise_at(const SnnKernels *kernels, const void *memory, size_t taps, size_t channels, SnnStored weight_form,
                                SnnStored input_form, const SnnRequant *requant) {
  DepthwisePlan plan = {0};
  plan_depthwise(kernels, taps, channels, &plan);
  const char *bytes = memory;
  const int32_t *arrays = (const int32_t *)(const void *)(bytes + plan.arrays_at);
  const Trailer *trailer = (const Trailer *)(const void *)(bytes + plan.all - sizeof(Trailer));
  SnnQDepthwise packed = {.weights = memory, .bias = arrays, .requant = *requant, .form = input_form, .bounded = trailer->largest < bound};
  packed.requant.multiplier = arrays + plan.places;
  packed.requant.shifts = arrays + 2 * plan.places;
  packed.sum_factor = kernels->dw_element == 1 ? -signed_zero(weight_form) : 0;
  return packed;
}
