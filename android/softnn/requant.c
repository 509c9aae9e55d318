/* Output scaling of quantised products, and what all convolutions check. */
#include "numeric.h"
#include "ops/convolution.h"
#include "shape.h"

static const SnnTypeLevel input_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1},
                                           {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                           SNN_NO_TYPE};

static int validate_filter(SnnNode *node, int32_t type, uint32_t channel_dim) {
  const SnnTensor *filter = node->in[CONV_FILTER];
  if (filter->type == type) return 1;
  SNN_REQUIRE(node, snn_is_quant8(type) && filter->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL,
              "filter (input 1) is %s beside an input of %s", snn_type_name(filter->type), snn_type_name(type));
  SNN_REQUIRE(node, filter->channel_dim == channel_dim, "filter (input 1) has its scales along dimension %u, not %u",
              filter->channel_dim, channel_dim);
  return 3;
}

int snn_convolution_validate(SnnNode *node, const SnnWindowKind *kind, uint32_t channel_dim, int level, bool scale_rule) {
  SNN_REQUIRE(node, node->n_in > CONV_BIAS, "%u inputs are too few", node->n_in);
  SNN_REQUIRE(node, node->n_out == 1, "%u outputs are not 1", node->n_out);
  int type_level = snn_type_level(node, CONV_INPUT, input_types);
  if (type_level < 0) return SNN_INVALID;
  int32_t type = node->in[CONV_INPUT]->type;
  int filter_level = validate_filter(node, type, channel_dim);
  if (filter_level < 0) return SNN_INVALID;
  int32_t bias_type = snn_is_quant8(type) ? ANEURALNETWORKS_TENSOR_INT32 : type;
  for (uint32_t i = 0; i <= CONV_BIAS; i++) SNN_REQUIRE(node, snn_present(node->in[i]), "input %u may not be omitted", i);
  SNN_REQUIRE(node, node->in[CONV_BIAS]->type == bias_type, "bias (input 2) is %s, not %s", snn_type_name(node->in[CONV_BIAS]->type),
              snn_type_name(bias_type));
  SNN_REQUIRE(node, node->out[0]->type == type, "output is %s, not %s", snn_type_name(node->out[0]->type), snn_type_name(type));
  SnnWindowForm form;
  int form_level = snn_window_form(node, kind, &form);
  if (form_level < 0) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[CONV_INPUT], "input 0", 4, 4) || !snn_check_rank(node, node->in[CONV_FILTER], "filter", 4, 4) ||
      !snn_check_rank(node, node->in[CONV_BIAS], "bias", 1, 1)) {
    return SNN_INVALID;
  }
  if (level < type_level) level = type_level;
  if (level < filter_level) level = filter_level;
  if (level < form_level) level = form_level;
  /* Before feature level 3, unsigned outputs had to be coarser than the products. */
  bool fine = type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM && node->in[CONV_FILTER]->type == type &&
              node->out[0]->scale <= node->in[CONV_INPUT]->scale * node->in[CONV_FILTER]->scale;
  if (scale_rule && fine && level < 3) level = 3;
  return level;
}

int snn_convolution_check(SnnNode *node, uint32_t channel_dim) {
  const SnnTensor *filter = node->in[CONV_FILTER], *bias = node->in[CONV_BIAS], *in = node->in[CONV_INPUT];
  SNN_CHECK(node, filter->rank == 4 && bias->rank == 1, "filter has rank %u, bias rank %u; 4 and 1 expected", filter->rank, bias->rank);
  for (int i = 0; i < 4; i++) SNN_CHECK(node, filter->dims[i] > 0 && filter->dims[i] <= INT32_MAX, "filter dimension %d is %u", i, filter->dims[i]);
  SNN_CHECK(node, bias->dims[0] == filter->dims[channel_dim], "bias has %u elements for %u output channels", bias->dims[0],
            filter->dims[channel_dim]);
  if (filter->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL) {
    SNN_CHECK(node, filter->channel_count == filter->dims[channel_dim] && filter->channel_scales, "filter has %u scales for %u channels",
              filter->channel_count, filter->dims[channel_dim]);
  } else if (snn_is_quant8(in->type)) {
    double product = in->scale * filter->scale, difference = fabs(product - (double)bias->scale);
    SNN_CHECK(node, difference <= 1e-6 * fmin(product, (double)bias->scale), "bias scale %.9g is not input scale * filter scale = %.9g",
              (double)bias->scale, product);
  }
  return SNN_OK;
}

size_t snn_requant_bytes(size_t padded) { return 2 * padded * sizeof(int32_t); }

static double channel_multiplier(const SnnTensor *in, const SnnTensor *filter, const SnnTensor *out, size_t channel, bool wide) {
  float scale = filter->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL ? filter->channel_scales[channel] : filter->scale;
  double product = wide ? (double)in->scale * (double)scale : (double)(in->scale * scale);
  return product / (double)out->scale;
}

int snn_requant_fill(SnnNode *node, void *memory, size_t channels, size_t padded, int32_t fuse, bool wide, SnnRequant *requant) {
  const SnnTensor *in = node->in[CONV_INPUT], *filter = node->in[CONV_FILTER], *out = node->out[0];
  int32_t *multiplier = memory, *shifts = multiplier + padded;
  bool is_signed = out->type != ANEURALNETWORKS_TENSOR_QUANT8_ASYMM;
  *requant = (SnnRequant){multiplier, shifts, true, is_signed, out->zero_point, 0, 0};
  SNN_TRY(snn_fused_range(node, fuse, out, &requant->lo, &requant->hi));
  for (size_t c = 0; c < padded; c++) {
    SnnMultiplier m = c < channels ? snn_quantize_multiplier(channel_multiplier(in, filter, out, c, wide)) : (SnnMultiplier){0, 0};
    multiplier[c] = m.multiplier;
    shifts[c] = snn_shifts(m.shift);
    if (m.shift >= 0 && m.multiplier != 0) requant->plain = false;
  }
  return SNN_OK;
}
