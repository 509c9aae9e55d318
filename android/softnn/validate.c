#include "validate.h"

int snn_expect_counts(SnnNode *node, uint32_t least, uint32_t most, uint32_t outputs) {
  SNN_REQUIRE(node, node->n_in >= least && node->n_in <= most, "%u inputs; it takes %u to %u", node->n_in, least, most);
  SNN_REQUIRE(node, node->n_out == outputs, "%u outputs; it has %u", node->n_out, outputs);
  return 0;
}

int snn_expect_listed(SnnNode *node, uint32_t input, const SnnTypeLevel *accepted) {
  int32_t type = node->in[input]->type;
  for (; accepted->level != 0; accepted++) {
    if (accepted->type == type) return accepted->level;
  }
  return snn_fail(node, "input %u has type %s, which the operation does not take", input, snn_type_name(type));
}

int snn_expect_type(SnnNode *node, uint32_t input, int32_t type) {
  SNN_REQUIRE(node, node->in[input]->type == type, "input %u has type %s; %s expected", input,
              snn_type_name(node->in[input]->type), snn_type_name(type));
  return 0;
}

int snn_expect_output_type(SnnNode *node, uint32_t output, int32_t type) {
  SNN_REQUIRE(node, node->out[output]->type == type, "output %u has type %s; %s expected", output,
              snn_type_name(node->out[output]->type), snn_type_name(type));
  return 0;
}

int snn_expect_float_scalar(SnnNode *node, uint32_t input, int32_t tensor_type) {
  return snn_expect_type(node, input,
                         tensor_type == ANEURALNETWORKS_TENSOR_FLOAT16 ? ANEURALNETWORKS_FLOAT16 : ANEURALNETWORKS_FLOAT32);
}

int snn_expect_rank(SnnNode *node, uint32_t input, uint32_t least, uint32_t most) {
  const SnnTensor *t = node->in[input];
  if (!t->rank_known) return 0;
  SNN_REQUIRE(node, t->rank >= least, "input %u has rank %u; at least %u expected", input, t->rank, least);
  SNN_REQUIRE(node, t->rank <= most, "input %u has rank %u; at most %u expected", input, t->rank, most);
  return 0;
}

static bool quantized(int32_t type) {
  return snn_is_quant8(type) || type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM || type == ANEURALNETWORKS_TENSOR_QUANT16_SYMM ||
         type == ANEURALNETWORKS_TENSOR_QUANT16_ASYMM;
}

int snn_expect_output_quantized_as_input(SnnNode *node) {
  const SnnTensor *in = node->in[0], *out = node->out[0];
  if (!quantized(out->type)) return 0;
  SNN_REQUIRE(node, in->scale == out->scale && in->zero_point == out->zero_point,
              "output scale %g, zero point %d must equal those of input 0 (%g, %d)", (double)out->scale, (int)out->zero_point,
              (double)in->scale, (int)in->zero_point);
  return 0;
}

int snn_expect_output_quantized(SnnNode *node, float scale, int32_t zero_point_unsigned, int32_t zero_point_signed) {
  const SnnTensor *out = node->out[0];
  if (!quantized(out->type)) return 0;
  int32_t zero_point = out->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM ? zero_point_unsigned : zero_point_signed;
  SNN_REQUIRE(node, out->scale == scale && out->zero_point == zero_point, "output scale %g, zero point %d; %g and %d expected",
              (double)out->scale, (int)out->zero_point, (double)scale, (int)zero_point);
  return 0;
}
