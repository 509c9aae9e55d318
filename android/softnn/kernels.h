/* The few inner loops that decide the speed, in one table per instruction set; snn_kernels() picks the best for this machine.
 *
 * All matrix products have the form out[row][n] = f(bias[n] + sum over k of a[row][k] * w[n][k]). A caller gathers a handful of rows of `a`
 * (a tile), converts them once, and multiplies them with the packed weights of all n. Quantised results are the same bit for bit
 * whichever table computes them. Float ones are those of TFLite's reference kernels bit for bit, unless the model allows relaxed computation:
 * then products are added with a single rounding, which is twice as fast and no less exact, but not the same.
 */
#ifndef SNN_KERNELS_H
#define SNN_KERNELS_H

#include "operation.h"

/* A multiplier's shift as SnnRequant has it. */
static inline int32_t snn_shifts(int32_t shift) { return shift > 0 ? shift * 256 : -shift; }

/* How a stored 8-bit operand is to be read. */
typedef struct {
  bool is_signed;
  int32_t zero_point;
} SnnStored;

/* Per output channel: ((acc << left) * multiplier) >> right as in snn_multiply, then + zero point, then clamped. */
typedef struct {
  const int32_t *multiplier, *shifts; /* shifts: left * 256 + right; both padded to the panel width */
  bool plain;                         /* no left shift, and every right shift is at least 1 */
  bool is_signed;                           /* the output's bytes */
  int32_t zero_point, lo, hi;
} SnnRequant;

/* Packed weights of one product: panels of `columns` output channels; see snn_qmatrix_pack, snn_fmatrix_pack. */
typedef struct {
  uint32_t n, k;
  const void *weights;
  const int32_t *bias;  /* with all zero-point corrections that do not depend on the row; padded */
  int32_t row_factor;   /* times the sum of a row's bytes (8-bit format); 0 where not needed */
  bool bounded;         /* no result can reach 2^30 */
} SnnQMatrix;

typedef struct {
  uint32_t n, k;
  const float *weights;
  const float *bias; /* padded */
  float lo, hi;
} SnnFMatrix;

/* One direction of a window over an image: position j reads taps 0, 1, ... at input positions first + j * step + t * tap. */
typedef struct {
  int32_t first, step, tap;
  uint32_t count, taps; /* positions; taps of each */
} SnnSteps;

/* Where the rows of a convolution come from. Sizes are in bytes. */
typedef struct {
  const char *in;          /* the first image, at the group's first channel */
  size_t tap, pixel, line; /* one tap's channels; from pixel to pixel, line to line */
  int32_t height, width;
  SnnSteps y, x;
  uint8_t fill, flip;      /* what lies outside; what every byte is XORed with */
} SnnSource;

/* Rows of converted input. Strides are in bytes. */
typedef struct {
  const void *a;
  size_t a_stride;
  uint32_t rows;
  const int32_t *row_sums; /* of the converted bytes, where row_factor is not 0 */
  void *out;
  size_t out_stride;
} SnnTile;

/* One output pixel of a pool: the taps that lie inside the image. Strides are in elements. */
typedef struct {
  const void *in;
  size_t in_row, in_column;
  uint32_t rows, columns, channels;
  void *out;
} SnnTaps;

/* A run of output pixels of a depthwise convolution: pixel p reads tap t at taps[t] + p * step bytes. Behind the real taps the list repeats
 * some tap up to a multiple of dw_group. */
typedef struct {
  const char *const *taps;
  uint32_t count;
  size_t step;
  uint32_t pixels, channels;
  char *out;
  size_t out_step; /* bytes */
} SnnPixels;

/* Packed weights of a depthwise convolution: blocks of dw_block channels, see snn_qdepthwise_pack. All arrays are in the order in which a block's
 * accumulators lie in registers. */
typedef struct {
  const void *weights;
  const int32_t *bias;
  SnnRequant requant;
  SnnStored form;      /* of the input */
  int32_t sum_factor;  /* times the sum of a channel's taps (8-bit format); 0 where not needed */
  bool bounded;
} SnnQDepthwise;

/* multiplier >> right, right at least 1; see SnnRequant.plain. */
typedef struct {
  int32_t multiplier, right;
} SnnMultiplierPair;

/* One operand of a quantised addition: ((value - zero point) << 20) * multiplier >> right, as snn_multiply rounds. */
typedef struct {
  SnnStored form;
  int32_t multiplier, right; /* right 0: the factor is one half */
} SnnAddend;

/* How numbers become stored bytes: + zero point, clamped. */
typedef struct {
  bool is_signed;
  int32_t zero_point, lo, hi;
} SnnQRange;

/* ADD, SUB and MUL of bytes. Steps are 1, or 0 for an operand that stands. */
typedef struct {
  SnnAddend a, b; /* MUL uses the forms alone */
  bool subtract, is_signed;
  SnnMultiplierPair output;
  int32_t zero_point, lo, hi;
} SnnQPair;

typedef struct {
  const char *name;
  uint32_t q_rows, q_columns, q_unit, q_element; /* tile height, panel width, depth unit, bytes of a converted input element */
  bool q_signed;                           /* with q_element 1: converted bytes are signed; else unsigned */
  uint32_t f_rows, f_columns;
  uint32_t narrow;                         /* width of a last panel that has no more columns; 0: always as the others */
  uint32_t q_heights, f_heights;           /* of blocks of rows, a bit each */
  uint32_t dw_block, dw_vectors, dw_group, dw_element; /* channels at a time, in so many vectors; taps at a time; bytes of a weight */
  uint32_t dw_narrow[2];                   /* narrower blocks (then several pixels at a time); 0 where there are none */
  /* All taps of the positions p, p + 1, ... (numbered through lines and images) as rows. */
  void (*gather)(const SnnSource *source, char *rows, size_t stride, size_t p, uint32_t count);
  /* Rows of `depth` bytes, `stride` apart, become converted rows. With q_element 1, rows that lie in `converted` already are taken as
   * converted (gathered with flip). `sums` (or NULL) receives each row's sum (8-bit format). */
  void (*q_convert)(void *converted, const uint8_t *stored, size_t stride, uint32_t rows, size_t depth, SnnStored form, int32_t *sums);
  void (*q_multiply)(const SnnQMatrix *matrix, const SnnRequant *requant, const SnnTile *tile); /* requant NULL: int32 results */
  void (*f_multiply[2])(const SnnFMatrix *matrix, const SnnTile *tile); /* [0] rounds like TFLite, [1] may fuse */
  void (*q_depthwise)(const SnnQDepthwise *packed, const SnnPixels *pixels);
  void (*f_depthwise[2])(const float *weights, const float *bias, float lo, float hi, const SnnPixels *pixels);
  /* Pools read the taps without weights; rows * columns > 0. */
  void (*q_average)(const SnnTaps *taps, bool is_signed, int32_t lo, int32_t hi);
  void (*q_max)(const SnnTaps *taps, bool is_signed, int32_t lo, int32_t hi);
  void (*f_average)(const SnnTaps *taps, float lo, float hi);
  void (*f_max)(const SnnTaps *taps, float lo, float hi);
  void (*f_l2)(const SnnTaps *taps, float lo, float hi);
  /* x * relu6(x + 3) / 6; in place or not. */
  void (*f_hard_swish)(const float *in, float *out, size_t count);
  void (*q_add)(const SnnQPair *pair, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b, ptrdiff_t step_b, uint8_t *out, size_t count);
  void (*q_mul)(const SnnQPair *pair, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b, ptrdiff_t step_b, uint8_t *out, size_t count);
  int32_t (*q_dot)(const uint8_t *a, SnnStored a_form, const uint8_t *b, SnnStored b_form, size_t count);
  void (*f_quantize)(const float *in, uint8_t *out, size_t count, float scale, const SnnQRange *range);
} SnnKernels;

/* The best table for this machine. snn_kernels_find: the one called `name`, NULL when it is unknown or cannot run here (for tests). */
const SnnKernels *snn_kernels(void);
const SnnKernels *snn_kernels_find(const char *name);
/* Index into the float kernels: 1 where the model allows relaxed computation, or sustained speed is preferred (or SOFTNN_FLOAT=fused is set).
 * Prepare only. */
int snn_float_kernel(const SnnNode *node);
/* to[i] = table[from[i]] (256 bytes), in place or not. */
void snn_table_lookup(const uint8_t *table, const uint8_t *from, uint8_t *to, size_t count);
const SnnKernels *snn_kernels_find(const char *name);

/* What turns a stored byte into a converted one, where q_element is 1. */
static inline uint8_t snn_flip(const SnnKernels *kernels, SnnStored form) { return form.is_signed == kernels->q_signed ? 0 : 0x80; }

/* --- packing --- */

/* Where the weights lie: element (n, y, x, c) at base + n * stride_n + y * stride_y + x * stride_x + c * stride_c (elements). The depth k runs
 * over y, x, c. */
typedef struct {
  const void *base;
  ptrdiff_t stride_n, stride_y, stride_x, stride_c;
  uint32_t n, ny, nx, nc;
  /* NULL, or told now and then what was packed and is not read again: outputs follow each other then, without gaps. */
  void (*packed)(const SnnNode *node, const void *from, size_t bytes);
  const SnnNode *node;
} SnnWeights;

/* Bytes of a packed product (weights, then bias); false on overflow. */
bool snn_qmatrix_bytes(const SnnKernels *kernels, size_t n, size_t k, size_t *bytes);
bool snn_fmatrix_bytes(const SnnKernels *kernels, size_t n, size_t k, size_t *bytes);
/* Packs into `memory` (64-byte aligned). `bias` may be NULL. */
SnnQMatrix snn_qmatrix_pack(const SnnKernels *kernels, void *memory, const SnnWeights *weights, SnnStored weight_form,
                            SnnStored input_form, const int32_t *bias);
SnnFMatrix snn_fmatrix_pack(const SnnKernels *kernels, void *memory, const SnnWeights *weights, const float *bias, float lo, float hi);
/* The descriptions of what was packed there earlier. */
SnnQMatrix snn_qmatrix_at(const SnnKernels *kernels, const void *memory, size_t n, size_t k, SnnStored weight_form);
SnnFMatrix snn_fmatrix_at(const SnnKernels *kernels, const void *memory, size_t n, size_t k, float lo, float hi);
/* Depthwise weights [tap][channel], with bias and output scaling (in channel order). */
bool snn_qdepthwise_bytes(const SnnKernels *kernels, size_t taps, size_t channels, size_t *bytes);
void snn_qdepthwise_pack(const SnnKernels *kernels, void *memory, const uint8_t *weights, size_t taps, size_t channels, SnnStored weight_form,
                         SnnStored input_form, const int32_t *bias, const SnnRequant *requant);
SnnQDepthwise snn_qdepthwise_at(const SnnKernels *kernels, const void *memory, size_t taps, size_t channels, SnnStored weight_form,
                                SnnStored input_form, const SnnRequant *requant);
/* The height, out of a set of bits that has 1, whose blocks cover `rows` with the least work. */
uint32_t snn_block_height(uint32_t rows, uint32_t heights);
/* What those blocks cost for each panel of weights, in a measure of its own. */
uint64_t snn_block_cost(uint32_t rows, uint32_t heights);
/* Tells packed forms apart (for snn_packed). */
uint32_t snn_packing_tag(const SnnKernels *kernels);
/* Columns [first, first + count) of a product; `first` must be a multiple of the panel width. */
SnnQMatrix snn_qmatrix_part(const SnnKernels *kernels, const SnnQMatrix *matrix, uint32_t first, uint32_t count);
SnnFMatrix snn_fmatrix_part(const SnnFMatrix *matrix, uint32_t first, uint32_t count);
/* Bytes of one converted row. */
size_t snn_converted_bytes(const SnnKernels *kernels, size_t k);

#endif
