#include "program.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/nnapi.h"
#include "bytes.h"
#include "flatbuffer.h"

/* Field numbers of the tables in schema/program.fbs, in the order of their declaration. */
enum { PROGRAM_VERSION, PROGRAM_FEATURE_LEVEL, PROGRAM_MODELS, PROGRAM_NAME };
enum { MODEL_OPERANDS, MODEL_OPERATIONS, MODEL_INPUTS, MODEL_OUTPUTS };
enum { OPERATION_CODE, OPERATION_INPUTS, OPERATION_OUTPUTS, OPERATION_NODE };
enum {
  OPERAND_TYPE, OPERAND_DIMENSIONS, OPERAND_SCALE, OPERAND_ZERO_POINT, OPERAND_CHANNEL_DIMENSION, OPERAND_CHANNEL_SCALES,
  OPERAND_SOURCE, OPERAND_INLINE, OPERAND_FILE, OPERAND_OFFSET, OPERAND_LENGTH, OPERAND_TENSOR,
};

enum { MAX_FEATURE_LEVEL = 8, MAX_MODELS = 4096 };

typedef struct {
  NtkProgram *program;
  FbBuffer buffer;
  const uint64_t *file_sizes;
  char *message;
  size_t message_size;
} Reader;

uint32_t ntk_element_size(int32_t type) {
  switch (type) {
    case ANEURALNETWORKS_FLOAT32:
    case ANEURALNETWORKS_INT32:
    case ANEURALNETWORKS_UINT32:
    case ANEURALNETWORKS_TENSOR_FLOAT32:
    case ANEURALNETWORKS_TENSOR_INT32:
      return 4;
    case ANEURALNETWORKS_TENSOR_QUANT16_SYMM:
    case ANEURALNETWORKS_TENSOR_FLOAT16:
    case ANEURALNETWORKS_FLOAT16:
    case ANEURALNETWORKS_TENSOR_QUANT16_ASYMM:
      return 2;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM:
    case ANEURALNETWORKS_BOOL:
    case ANEURALNETWORKS_TENSOR_BOOL8:
    case ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL:
    case ANEURALNETWORKS_TENSOR_QUANT8_SYMM:
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED:
      return 1;
    default:
      return 0;
  }
}

bool ntk_is_scalar(int32_t type) {
  return type == ANEURALNETWORKS_FLOAT32 || type == ANEURALNETWORKS_INT32 || type == ANEURALNETWORKS_UINT32 ||
         type == ANEURALNETWORKS_BOOL || type == ANEURALNETWORKS_FLOAT16;
}

bool ntk_tensor_size(int32_t type, uint32_t rank, const uint32_t *dims, uint64_t *size) {
  uint64_t bytes = ntk_element_size(type);
  bool empty = bytes == 0;
  for (uint32_t i = 0; i < rank; i++) {
    if (dims[i] == 0) {
      empty = true;
      continue;
    }
    if (__builtin_mul_overflow(bytes, (uint64_t)dims[i], &bytes) || bytes > UINT32_MAX) return false;
  }
  *size = empty ? 0 : bytes;
  return true;
}

__attribute__((format(printf, 2, 3))) static bool fail(Reader *reader, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reader->message, reader->message_size, format, arguments);
  va_end(arguments);
  return false;
}

/* Reports what the FlatBuffers reader found. */
static bool fail_buffer(Reader *reader, const char *where) {
  return fail(reader, "%s: %s (byte %u of %u)", where, reader->buffer.problem, reader->buffer.where, reader->buffer.size);
}

static bool read_fields(const FbTable *table, NtkOperand *operand, FbVector *dims, FbVector *scales, FbVector *value) {
  return fb_i32(table, OPERAND_TYPE, 0, &operand->type) && fb_vector(table, OPERAND_DIMENSIONS, 4, dims) &&
         fb_f32(table, OPERAND_SCALE, 0.0f, &operand->scale) && fb_i32(table, OPERAND_ZERO_POINT, 0, &operand->zero_point) &&
         fb_u32(table, OPERAND_CHANNEL_DIMENSION, 0, &operand->channel_dim) &&
         fb_vector(table, OPERAND_CHANNEL_SCALES, 4, scales) && fb_u8(table, OPERAND_SOURCE, 0, &operand->source) &&
         fb_vector(table, OPERAND_INLINE, 1, value) && fb_u32(table, OPERAND_FILE, 0, &operand->file) &&
         fb_u64(table, OPERAND_OFFSET, 0, &operand->offset) && fb_u64(table, OPERAND_LENGTH, 0, &operand->length) &&
         fb_i32(table, OPERAND_TENSOR, -1, &operand->tensor);
}

static bool check_scales(Reader *reader, const char *where, const NtkOperand *operand) {
  bool per_channel = operand->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL;
  if (!(operand->scale >= 0.0f) || operand->scale > 3.4e38f) return fail(reader, "%s: scale is negative or not finite", where);
  if (!per_channel)
    return operand->channel_count == 0 || fail(reader, "%s: channel_scales on type %d", where, (int)operand->type);
  if (operand->channel_dim >= operand->rank)
    return fail(reader, "%s: channel_dimension %u with rank %u", where, operand->channel_dim, operand->rank);
  if (operand->channel_count == 0 || operand->channel_count != operand->dims[operand->channel_dim])
    return fail(reader, "%s: %u channel_scales for dimension %u of size %u", where, operand->channel_count, operand->channel_dim,
                operand->dims[operand->channel_dim]);
  for (uint32_t i = 0; i < operand->channel_count; i++) {
    float scale = operand->channel_scales[i];
    if (!(scale > 0.0f) || scale > 3.4e38f) return fail(reader, "%s: channel_scales[%u] is not positive and finite", where, i);
  }
  return true;
}

static bool check_value(Reader *reader, const char *where, const NtkOperand *operand) {
  if ((operand->type == ANEURALNETWORKS_MODEL) != (operand->source == NTK_VALUE_MODEL))
    return fail(reader, "%s: type %d with value source %u", where, (int)operand->type, operand->source);
  if (operand->source == NTK_VALUE_MODEL) {
    return operand->file < reader->program->model_count ||
           fail(reader, "%s: refers to model %u of %u", where, operand->file, reader->program->model_count);
  }
  if (operand->source != NTK_VALUE_INLINE && operand->source != NTK_VALUE_FILE) return true;
  if (operand->size == 0) return fail(reader, "%s: a constant whose dimensions are not all known", where);
  if (operand->length != operand->size)
    return fail(reader, "%s: a value of %llu bytes for %llu bytes by type and dimensions", where,
                (unsigned long long)operand->length, (unsigned long long)operand->size);
  if (operand->source == NTK_VALUE_INLINE) return true;
  if (operand->file > 1) return fail(reader, "%s: file %u (0 and 1 exist)", where, operand->file);
  uint64_t available = reader->file_sizes[operand->file];
  if (operand->offset > available || operand->length > available - operand->offset)
    return fail(reader, "%s: bytes %llu + %llu of file %u, which has %llu", where, (unsigned long long)operand->offset,
                (unsigned long long)operand->length, operand->file, (unsigned long long)available);
  return true;
}

static bool read_operand(Reader *reader, uint32_t model, uint32_t index, const FbVector *tables, NtkOperand *operand) {
  char where[64];
  FbTable table;
  FbVector dims, scales, value;
  snprintf(where, sizeof where, "models[%u].operands[%u]", model, index);
  if (!fb_table(tables, index, &table) || !read_fields(&table, operand, &dims, &scales, &value))
    return fail_buffer(reader, where);
  if (operand->type < 0 || operand->type > ANEURALNETWORKS_MODEL) return fail(reader, "%s: type %d", where, (int)operand->type);
  if (operand->source > NTK_VALUE_MODEL) return fail(reader, "%s: value source %u", where, operand->source);
  if (dims.count > NTK_MAX_RANK) return fail(reader, "%s: rank %u (at most %d)", where, dims.count, NTK_MAX_RANK);
  if (dims.count != 0 && (ntk_is_scalar(operand->type) || operand->type == ANEURALNETWORKS_MODEL))
    return fail(reader, "%s: dimensions on scalar type %d", where, (int)operand->type);
  operand->rank = dims.count;
  if (dims.count != 0) memcpy(operand->dims, fb_data(&dims), dims.count * sizeof(uint32_t));
  operand->channel_scales = fb_data(&scales);
  operand->channel_count = scales.count;
  if (operand->source == NTK_VALUE_INLINE) {
    operand->data = fb_data(&value);
    operand->length = value.count;
  }
  bool unknown_rank = operand->rank == 0 && !ntk_is_scalar(operand->type);
  if (!ntk_tensor_size(operand->type, operand->rank, operand->dims, &operand->size))
    return fail(reader, "%s: dimensions make more than 4 GiB", where);
  if (unknown_rank) operand->size = 0;
  return check_scales(reader, where, operand) && check_value(reader, where, operand);
}

/* `written` counts, by operand, who gives it its value. */
static bool check_indices(Reader *reader, const char *where, const char *what, const NtkModel *model, const uint32_t *indices,
                          uint32_t count, uint8_t *written) {
  for (uint32_t i = 0; i < count; i++) {
    if (indices[i] >= model->operand_count)
      return fail(reader, "%s.%s[%u]: operand %u of %u", where, what, i, indices[i], model->operand_count);
    if (written == NULL) continue;
    if (model->operands[indices[i]].source != NTK_VALUE_NONE)
      return fail(reader, "%s.%s[%u]: operand %u has a constant value", where, what, i, indices[i]);
    if (written[indices[i]]++ != 0) return fail(reader, "%s.%s[%u]: operand %u is written twice", where, what, i, indices[i]);
  }
  return true;
}

static bool read_operation(Reader *reader, uint32_t model_index, uint32_t index, const FbVector *tables, NtkModel *model,
                           uint8_t *written) {
  char where[64];
  FbTable table;
  FbVector inputs, outputs;
  NtkOperation *operation = &model->operations[index];
  snprintf(where, sizeof where, "models[%u].operations[%u]", model_index, index);
  if (!fb_table(tables, index, &table) || !fb_i32(&table, OPERATION_CODE, 0, &operation->code) ||
      !fb_vector(&table, OPERATION_INPUTS, 4, &inputs) || !fb_vector(&table, OPERATION_OUTPUTS, 4, &outputs) ||
      !fb_i32(&table, OPERATION_NODE, -1, &operation->node))
    return fail_buffer(reader, where);
  if (operation->code < 0 || operation->code > ANEURALNETWORKS_REVERSE)
    return fail(reader, "%s: code %d", where, (int)operation->code);
  if (inputs.count == 0 || outputs.count == 0) return fail(reader, "%s: has no inputs or no outputs", where);
  operation->inputs = fb_data(&inputs);
  operation->outputs = fb_data(&outputs);
  operation->input_count = inputs.count;
  operation->output_count = outputs.count;
  return check_indices(reader, where, "inputs", model, operation->inputs, inputs.count, NULL) &&
         check_indices(reader, where, "outputs", model, operation->outputs, outputs.count, written);
}

/* Model outputs are distinct and none is a constant; one that is a model input too would never be written. */
static bool check_outputs(Reader *reader, const char *where, const NtkModel *model, const uint8_t *written) {
  if (!check_indices(reader, where, "outputs", model, model->outputs, model->output_count, NULL)) return false;
  uint8_t *seen = calloc((size_t)model->operand_count + 1, 1);
  if (seen == NULL) return fail(reader, "%s: out of memory", where);
  bool fine = true;
  for (uint32_t i = 0; fine && i < model->input_count; i++) seen[model->inputs[i]] = 1;
  for (uint32_t i = 0; fine && i < model->output_count; i++) {
    uint32_t operand = model->outputs[i];
    if (seen[operand]++ != 0) fine = fail(reader, "%s.outputs[%u]: operand %u is an input or output already", where, i, operand);
    else if (!written[operand]) fine = fail(reader, "%s.outputs[%u]: no operation writes operand %u", where, i, operand);
  }
  free(seen);
  return fine;
}

static bool read_model(Reader *reader, uint32_t index, const FbVector *tables) {
  char where[32];
  FbTable table;
  FbVector operands, operations, inputs, outputs;
  NtkModel *model = &reader->program->models[index];
  snprintf(where, sizeof where, "models[%u]", index);
  if (!fb_table(tables, index, &table) || !fb_tables(&table, MODEL_OPERANDS, &operands) ||
      !fb_tables(&table, MODEL_OPERATIONS, &operations) || !fb_vector(&table, MODEL_INPUTS, 4, &inputs) ||
      !fb_vector(&table, MODEL_OUTPUTS, 4, &outputs))
    return fail_buffer(reader, where);
  if (operands.count == 0 || operations.count == 0 || outputs.count == 0)
    return fail(reader, "%s: %u operands, %u operations, %u outputs (each must be at least 1)", where, operands.count,
                operations.count, outputs.count);
  if (inputs.count > operands.count || outputs.count > operands.count)
    return fail(reader, "%s: more inputs or outputs than operands", where);
  model->operands = calloc(operands.count, sizeof *model->operands);
  model->operations = calloc(operations.count, sizeof *model->operations);
  uint8_t *written = calloc(operands.count, 1);
  bool fine = model->operands != NULL && model->operations != NULL && written != NULL;
  if (!fine) fail(reader, "%s: out of memory", where);
  model->operand_count = operands.count;
  model->operation_count = operations.count;
  model->inputs = fb_data(&inputs);
  model->outputs = fb_data(&outputs);
  model->input_count = inputs.count;
  model->output_count = outputs.count;
  for (uint32_t i = 0; fine && i < operands.count; i++) fine = read_operand(reader, index, i, &operands, &model->operands[i]);
  fine = fine && check_indices(reader, where, "inputs", model, model->inputs, inputs.count, written);
  for (uint32_t i = 0; fine && i < operations.count; i++) fine = read_operation(reader, index, i, &operations, model, written);
  fine = fine && check_outputs(reader, where, model, written);
  free(written);
  return fine;
}

/* Are all models that this one refers to placed already? */
static bool ready(const NtkProgram *program, uint32_t index, const uint8_t *placed) {
  const NtkModel *model = &program->models[index];
  for (uint32_t i = 0; i < model->operand_count; i++)
    if (model->operands[i].source == NTK_VALUE_MODEL && !placed[model->operands[i].file]) return false;
  return true;
}

/* Sorts the models so that each comes after those it refers to. Quadratic in their number, so that is limited by the work that it
 * may cost: nesting is a handful in practice. */
static bool sort_models(Reader *reader) {
  NtkProgram *program = reader->program;
  uint8_t *placed = calloc(program->model_count, 1);
  program->order = calloc(program->model_count, sizeof *program->order);
  if (placed == NULL || program->order == NULL) {
    free(placed);
    return fail(reader, "program: out of memory");
  }
  uint32_t count = 0;
  bool moved = true;
  uint64_t work = 64u * (uint64_t)program->size + 4096;
  while (moved && count < program->model_count) {
    moved = false;
    for (uint32_t i = program->model_count; i-- > 0;) {
      uint64_t cost = program->models[i].operand_count;
      if (placed[i]) continue;
      if (cost > work) break;
      work -= cost;
      if (!ready(program, i, placed)) continue;
      placed[i] = 1;
      program->order[count++] = i;
      moved = true;
    }
  }
  free(placed);
  return count == program->model_count || fail(reader, "program: its models refer to each other in a circle or too deeply");
}

static bool read_program(Reader *reader) {
  NtkProgram *program = reader->program;
  FbTable root;
  FbVector models, name;
  uint32_t version;
  if (!fb_root(&reader->buffer, program->bytes, program->size, "NNTP", &root) ||
      !fb_u32(&root, PROGRAM_VERSION, 0, &version) || !fb_u32(&root, PROGRAM_FEATURE_LEVEL, 0, &program->feature_level) ||
      !fb_tables(&root, PROGRAM_MODELS, &models) || !fb_string(&root, PROGRAM_NAME, &name))
    return fail_buffer(reader, "program");
  if (version != NTK_PROGRAM_VERSION)
    return fail(reader, "program: version %u (this shim reads %d)", version, NTK_PROGRAM_VERSION);
  if (program->feature_level < 1 || program->feature_level > MAX_FEATURE_LEVEL)
    return fail(reader, "program: feature_level %u (1 to %d exist)", program->feature_level, MAX_FEATURE_LEVEL);
  if (models.count == 0 || models.count > MAX_MODELS)
    return fail(reader, "program: %u models (1 to %d)", models.count, MAX_MODELS);
  program->models = calloc(models.count, sizeof *program->models);
  if (program->models == NULL) return fail(reader, "program: out of memory");
  program->model_count = models.count;
  for (uint32_t i = 0; i < models.count; i++)
    if (!read_model(reader, i, &models)) return false;
  return sort_models(reader);
}

bool ntk_program_read(NtkProgram *program, uint8_t *bytes, size_t size, const uint64_t file_sizes[2], char *message,
                      size_t message_size) {
  *program = (NtkProgram){.bytes = bytes, .size = size};
  Reader reader = {.program = program, .file_sizes = file_sizes, .message = message, .message_size = message_size};
  if (read_program(&reader)) return true;
  ntk_program_free(program);
  return false;
}

void ntk_program_trim(NtkProgram *program, bool keep_bytes) {
  for (uint32_t i = 0; program->models != NULL && i < program->model_count; i++) {
    free(program->models[i].operands);
    free(program->models[i].operations);
  }
  free(program->models);
  program->models = NULL;
  if (keep_bytes) return;
  free(program->bytes);
  program->bytes = NULL;
}

void ntk_program_free(NtkProgram *program) {
  ntk_program_trim(program, true);
  free(program->order);
  free(program->bytes);
  *program = (NtkProgram){0};
}
