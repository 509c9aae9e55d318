/* Images and sliding windows: where the operands of convolutions and pools lie, padding, NCHW. Kernels see NHWC only. */
#ifndef SNN_LAYOUT_H
#define SNN_LAYOUT_H

#include "operation.h"

typedef struct {
  uint32_t batch, height, width, channels;
} SnnImage;

/* Input positions of one form of a windowed operation (x [, filter, bias], padding..., strides, extras, fuse [, nchw [, dilations]]).
 * 0 where the form has no such operand. */
typedef struct {
  bool explicit_padding;   /* `padding` is the first of left, right, top, bottom; else the implicit scheme */
  uint32_t padding, stride_w, stride_h, extra, fuse, nchw, dilation_w, dilation_h;
} SnnWindowForm;

/* How an operation's forms are put together. */
typedef struct {
  uint32_t tensors;      /* operands before the padding: 1 for pools, 3 for convolutions */
  uint32_t extras;       /* INT32 scalars between strides and fuse */
  bool output_shape;     /* TRANSPOSE_CONV_2D: the implicit form has a shape tensor before the padding */
  bool nchw_required;
  bool dilation;         /* may end with two dilation factors */
} SnnWindowKind;

/* Finds the form by operand count and types, and checks the types of all operands after the first `tensors`.
 * Answers the feature level that the form needs (1, or 3 with a layout flag), or SNN_INVALID. */
int snn_window_form(SnnNode *node, const SnnWindowKind *kind, SnnWindowForm *form);

/* One direction. Output position o covers input positions o * stride - before + k * dilation. */
typedef struct {
  int32_t in, out, filter, stride, dilation, before, after;
} SnnAxis;

/* Everything that the scalars say. */
typedef struct {
  bool nchw;
  int32_t padding; /* implicit scheme, or 0 */
  int32_t fuse;
  int32_t extra[2];
  SnnImage in;
  SnnAxis y, x;
} SnnWindow;

/* In prepare: reads the scalars and the input's shape (rank 4, all but the batch not empty). Filter sizes are the caller's to set. */
int snn_window_read(SnnNode *node, const SnnWindowKind *kind, SnnWindow *window);
/* Works out padding (implicit scheme) and output size of both directions; the filters are set. */
int snn_window_solve(SnnNode *node, SnnWindow *window);
/* The same for a transposed convolution: `out` is the forward convolution's input. With an implicit scheme `out` is given. */
int snn_window_solve_transposed(SnnNode *node, SnnWindow *window);

/* Sets output 0's shape from an image in the window's layout. */
int snn_set_image(SnnNode *node, const SnnWindow *window, uint32_t channels);

/* Transposes batch images between layouts. `element` is 1, 2 or 4 bytes. */
void snn_nchw_to_nhwc(void *nhwc, const void *nchw, const SnnImage *image, size_t element);
void snn_nhwc_to_nchw(void *nchw, const void *nhwc, const SnnImage *image, size_t element);

/* Elements of an image; false when the bytes (4 an element) do not fit 32 bits. */
bool snn_image_count(const SnnImage *image, size_t *count);

#endif
