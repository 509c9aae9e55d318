/* EXECUTE: inputs from the frame and from slots, one run, outputs into the reply and into slots. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

enum { ATTEMPTS = 4, FIRST_CAPACITY = 1024 };

typedef struct {
  NtkLoaded *loaded;
  uint32_t flags;
  uint64_t timeout;
  uint64_t execute_ns, hardware_ns, driver_ns;
} Request;

void ntk_forget_execution(NtkLoaded *loaded) {
  if (loaded->execution != NULL) loaded->nnapi->Execution_free(loaded->execution);
  loaded->execution = NULL;
}

static uint64_t padded(uint64_t length) { return (length + 7) / 8 * 8; }

/* --- what the request says --- */

/* Checks an input's shape against its operand, and its length against its shape. */
static bool check_shape(NtkSession *session, NtkArgument *argument, uint32_t index) {
  const NtkOperand *operand = argument->operand;
  uint64_t size;
  if (argument->rank == 0) {
    argument->rank = operand->rank;
    memcpy(argument->dims, operand->dims, sizeof argument->dims);
  }
  bool free_rank = operand->rank == 0 && !ntk_is_scalar(operand->type);
  bool fits = free_rank || argument->rank == operand->rank;
  for (uint32_t i = 0; fits && !free_rank && i < operand->rank; i++)
    fits = operand->dims[i] == 0 || operand->dims[i] == argument->dims[i];
  if (!fits)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "input %u: its shape is not the one that the program declares (rank %u, operand rank %u)",
                    index, argument->rank, operand->rank);
  if (!ntk_tensor_size(operand->type, argument->rank, argument->dims, &size))
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "input %u: its shape makes 4 GiB or more", index);
  if (size != argument->length)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "input %u: %llu bytes given, %llu by its shape and type", index,
                    (unsigned long long)argument->length, (unsigned long long)size);
  return true;
}

/* An input that a slot holds, or an inline one that is to be kept in a slot. */
static bool bind_input_slot(NtkSession *session, NtkArgument *argument, uint32_t index) {
  bool held = argument->source != NTK_INLINE;
  NtkSlot *slot = ntk_find_slot(session, argument->slot, !held);
  if (slot == NULL) return false;
  bool clash = held ? slot->kept_by == session->executions : slot->kept_by == session->executions || slot->read_by == session->executions;
  if (clash) return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "input %u: slot %u is kept and used by one request", index, argument->slot);
  if (!held) {
    slot->kept_by = session->executions;
    argument->at = &slot->region;
    return true;
  }
  slot->read_by = session->executions;
  if (argument->length == 0) argument->length = slot->length;
  if (argument->length != slot->length)
    return ntk_fail(session, NTK_STATUS_STATE, 0, "input %u: slot %u holds %llu bytes, not %llu", index, argument->slot,
                    (unsigned long long)slot->length, (unsigned long long)argument->length);
  if (argument->rank == 0 && argument->operand->size == 0) {
    argument->rank = slot->rank;
    memcpy(argument->dims, slot->dims, slot->rank * sizeof *slot->dims);
  }
  if (argument->source == NTK_SLOT) argument->at = &slot->region;
  return true;
}

static bool take_input(NtkSession *session, NtkArgument *argument, uint32_t index, uint64_t *inline_bytes) {
  NtkSource *source = session->source;
  memset(argument->dims, 0, sizeof argument->dims);
  if (!ntk_take_u32(source, &argument->slot) || !ntk_take_u32(source, &argument->source) || !ntk_take_u64(source, &argument->length) ||
      !ntk_take_u32(source, &argument->rank))
    return ntk_fail_short(session, "an input");
  if (argument->rank > NTK_MAX_RANK) return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "input %u: rank %u", index, argument->rank);
  if (!ntk_take(source, argument->dims, argument->rank * sizeof *argument->dims)) return ntk_fail_short(session, "an input's dimensions");
  if (argument->source > NTK_SLOT_FLIPPED) return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "input %u: source %u", index, argument->source);
  argument->at = NULL;
  if (argument->source == NTK_OMITTED)
    return argument->length == 0 || ntk_fail(session, NTK_STATUS_MALFORMED, 0, "input %u: omitted, but with a length", index);
  argument->at = &argument->region;
  if (argument->source == NTK_SLOT_FLIPPED && ntk_element_size(argument->operand->type) != 1)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "input %u: flipped, but of type %d", index, (int)argument->operand->type);
  bool in_slot = argument->source != NTK_INLINE || argument->slot != NTK_NO_SLOT;
  if (in_slot && !bind_input_slot(session, argument, index)) return false;
  if (argument->source == NTK_INLINE) {
    if (argument->length > NTK_MAX_PAYLOAD) return ntk_fail_short(session, "inline bytes");
    *inline_bytes += padded(argument->length); /* no overflow: counts are below 2^32, lengths at most 2^30 */
  }
  return check_shape(session, argument, index);
}

static bool take_output(NtkSession *session, NtkArgument *argument, uint32_t index) {
  NtkSource *source = session->source;
  uint32_t send;
  uint64_t capacity;
  if (!ntk_take_u32(source, &argument->slot) || !ntk_take_u32(source, &send) || !ntk_take_u64(source, &capacity))
    return ntk_fail_short(session, "an output");
  if (send > 1) return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "output %u: send is %u (0 or 1)", index, send);
  if (capacity > NTK_MAX_PAYLOAD) return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "output %u: capacity %llu", index, (unsigned long long)capacity);
  argument->send = send != 0;
  argument->at = &argument->region;
  argument->length = argument->operand->size;
  if (argument->length == 0) argument->length = capacity > 0 ? capacity : FIRST_CAPACITY;
  else if (capacity != 0 && capacity < argument->length)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "output %u: capacity %llu for %llu bytes", index, (unsigned long long)capacity,
                    (unsigned long long)argument->length);
  if (argument->slot == NTK_NO_SLOT) return true;
  NtkSlot *slot = ntk_find_slot(session, argument->slot, true);
  if (slot == NULL) return false;
  if (slot->written_by == session->executions)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "output %u: slot %u is written twice by one request", index, argument->slot);
  slot->written_by = session->executions;
  bool in_use = slot->read_by == session->executions || slot->kept_by == session->executions;
  argument->at = in_use ? &slot->spare : &slot->region;
  return true;
}

/* Takes everything in front of the inline bytes. */
static bool take_request(NtkSession *session, Request *request) {
  NtkSource *source = session->source;
  uint32_t number, inputs, outputs;
  uint64_t inline_bytes = 0;
  if (!ntk_take_u32(source, &number) || !ntk_take_u32(source, &request->flags) || !ntk_take_u64(source, &request->timeout) ||
      !ntk_take_u32(source, &inputs) || !ntk_take_u32(source, &outputs))
    return ntk_fail_short(session, "program, flags, timeout and counts");
  if ((request->flags & ~(uint32_t)NTK_EXECUTE_MEASURE) != 0)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "flags %u are not known", request->flags);
  NtkLoaded *loaded = request->loaded = ntk_find_program(session, number);
  if (loaded == NULL) return false;
  if (inputs != loaded->input_count || outputs != loaded->output_count)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "%u inputs and %u outputs for program %u, which has %u and %u", inputs, outputs,
                    number, loaded->input_count, loaded->output_count);
  session->executions++;
  for (uint32_t i = 0; i < inputs; i++)
    if (!take_input(session, &loaded->arguments[i], i, &inline_bytes)) return false;
  for (uint32_t i = 0; i < outputs; i++)
    if (!take_output(session, &loaded->arguments[inputs + i], i)) return false;
  if (!ntk_take_padding(source)) return ntk_fail_short(session, "padding");
  if (inline_bytes != source->left)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "the inline inputs have %llu bytes, but %llu follow",
                    (unsigned long long)inline_bytes, (unsigned long long)source->left);
  return true;
}

static bool reserve(NtkSession *session, NtkArgument *argument, const char *what, uint32_t index) {
  if (ntk_region_reserve(&session->arena, argument->at, (size_t)argument->length)) return true;
  return ntk_fail(session, NTK_STATUS_SYSTEM, errno, "%s %u: no memory for %llu bytes", what, index, (unsigned long long)argument->length);
}

/* An output of unknown size gets all that its region has, so that what was enough once is not asked for again. */
static bool reserve_output(NtkSession *session, NtkArgument *argument, uint32_t index) {
  if (!reserve(session, argument, "output", index)) return false;
  if (argument->operand->size == 0) argument->length = argument->at->capacity;
  return true;
}

/* Moves the inline inputs from the stream to where NNAPI reads them. */
static bool take_inline(NtkSession *session, NtkLoaded *loaded) {
  NtkSource *source = session->source;
  for (uint32_t i = 0; i < loaded->input_count; i++) {
    NtkArgument *argument = &loaded->arguments[i];
    if (argument->source != NTK_INLINE) continue;
    NtkSlot *slot = argument->slot != NTK_NO_SLOT ? ntk_find_slot(session, argument->slot, true) : NULL;
    if (slot != NULL) ntk_slot_clear(session, slot);
    if (!reserve(session, argument, "input", i)) return false;
    if (!ntk_take(source, ntk_region_data(argument->at), argument->length) ||
        !ntk_skip(source, padded(argument->length) - argument->length))
      return ntk_fail_short(session, "inline bytes");
    if (slot != NULL) ntk_slot_set(session, slot, argument->length, argument->rank, argument->dims);
  }
  return true;
}

/* Makes the program's own copies of what lies in slots in the other representation of 8-bit integers. */
static bool flip_inputs(NtkSession *session, NtkLoaded *loaded) {
  for (uint32_t i = 0; i < loaded->input_count; i++) {
    NtkArgument *argument = &loaded->arguments[i];
    if (argument->source != NTK_SLOT_FLIPPED) continue;
    if (!reserve(session, argument, "input", i)) return false;
    const NtkSlot *slot = ntk_find_slot(session, argument->slot, false);
    if (slot == NULL) return false;
    const uint8_t *from = ntk_region_data(&slot->region);
    uint8_t *to = ntk_region_data(argument->at);
    for (uint64_t k = 0; k < argument->length; k++) to[k] = from[k] ^ 0x80;
  }
  return true;
}

/* Makes room for the outputs. A slot that is only written loses its tensor here: it comes back when the run succeeds. */
static bool prepare_outputs(NtkSession *session, NtkLoaded *loaded) {
  for (uint32_t i = 0; i < loaded->output_count; i++) {
    NtkArgument *argument = &loaded->arguments[loaded->input_count + i];
    if (argument->slot != NTK_NO_SLOT) {
      NtkSlot *slot = ntk_find_slot(session, argument->slot, true);
      if (slot != NULL && argument->at == &slot->region) ntk_slot_clear(session, slot);
    }
    if (!reserve_output(session, argument, i)) return false;
  }
  return true;
}

/* --- the run --- */

static bool same_places(const NtkLoaded *loaded) {
  for (uint32_t i = 0; i < loaded->input_count + loaded->output_count; i++) {
    const NtkArgument *argument = &loaded->arguments[i];
    const NtkPlace *place = &loaded->places[i];
    if ((argument->at == NULL) != (place->serial == 0)) return false;
    if (argument->at == NULL) continue;
    if (place->serial != ntk_region_serial(argument->at) || place->offset != argument->at->offset || place->length != argument->length)
      return false;
    if (i < loaded->input_count && (place->rank != argument->rank || memcmp(place->dims, argument->dims, argument->rank * sizeof(uint32_t)) != 0))
      return false;
  }
  return true;
}

static void remember_places(NtkLoaded *loaded) {
  for (uint32_t i = 0; i < loaded->input_count + loaded->output_count; i++) {
    const NtkArgument *argument = &loaded->arguments[i];
    NtkPlace *place = &loaded->places[i];
    *place = (NtkPlace){0};
    if (argument->at == NULL) continue;
    *place = (NtkPlace){ntk_region_serial(argument->at), argument->at->offset, argument->length, 0, {0}};
    if (i >= loaded->input_count) continue; /* an output's shape is a result */
    place->rank = argument->rank;
    memcpy(place->dims, argument->dims, argument->rank * sizeof(uint32_t));
  }
}

static bool set_input(NtkSession *session, ANeuralNetworksExecution *execution, const NtkArgument *argument, uint32_t index) {
  const NtkOperand *operand = argument->operand;
  int result;
  if (argument->source == NTK_OMITTED) {
    result = NTK_CALL(session, Execution_setInput, execution, (int32_t)index, NULL, NULL, 0);
    return result == 0 || ntk_fail_call(session, result, "Execution_setInput", "of input %u (omitted)", index);
  }
  ANeuralNetworksOperandType type = {operand->type, argument->rank, argument->dims, operand->scale, operand->zero_point};
  const ANeuralNetworksOperandType *shape = operand->size == 0 ? &type : NULL;
  ANeuralNetworksMemory *memory = ntk_region_memory(argument->at, session->nnapi);
  if (memory != NULL)
    result = NTK_CALL(session, Execution_setInputFromMemory, execution, (int32_t)index, shape, memory, argument->at->offset, (size_t)argument->length);
  else
    result = NTK_CALL(session, Execution_setInput, execution, (int32_t)index, shape, ntk_region_data(argument->at), (size_t)argument->length);
  return result == 0 || ntk_fail_call(session, result, "Execution_setInput", "of input %u (tensor %d, %llu bytes)", index,
                                      (int)operand->tensor, (unsigned long long)argument->length);
}

static bool set_output(NtkSession *session, ANeuralNetworksExecution *execution, const NtkArgument *argument, uint32_t index) {
  ANeuralNetworksMemory *memory = ntk_region_memory(argument->at, session->nnapi);
  int result;
  if (memory != NULL)
    result = NTK_CALL(session, Execution_setOutputFromMemory, execution, (int32_t)index, NULL, memory, argument->at->offset, (size_t)argument->length);
  else
    result = NTK_CALL(session, Execution_setOutput, execution, (int32_t)index, NULL, ntk_region_data(argument->at), (size_t)argument->length);
  return result == 0 || ntk_fail_call(session, result, "Execution_setOutput", "of output %u (tensor %d, %llu bytes)", index,
                                      (int)argument->operand->tensor, (unsigned long long)argument->length);
}

/* A new execution with all its arguments; reusable where the run time can. */
static bool create_execution(NtkSession *session, NtkLoaded *loaded, bool *reusable) {
  int result = NTK_CALL(session, Execution_create, loaded->compilation, &loaded->execution);
  if (result != 0) {
    loaded->execution = NULL;
    return ntk_fail_call(session, result, "Execution_create", "of program %u", loaded->number);
  }
  *reusable = session->nnapi->Execution_setReusable != NULL && session->nnapi->feature_level >= 5 &&
              NTK_CALL(session, Execution_setReusable, loaded->execution, true) == 0;
  for (uint32_t i = 0; i < loaded->input_count; i++)
    if (!set_input(session, loaded->execution, &loaded->arguments[i], i)) return false;
  for (uint32_t i = 0; i < loaded->output_count; i++)
    if (!set_output(session, loaded->execution, &loaded->arguments[loaded->input_count + i], i)) return false;
  return true;
}

/* Measuring and timeouts exist for one chosen device only; elsewhere the request's wishes have no effect. */
static bool configure(NtkSession *session, const Request *request) {
  NtkLoaded *loaded = request->loaded;
  bool measure = (request->flags & NTK_EXECUTE_MEASURE) != 0;
  int result = 0;
  if (!loaded->one_device) return true;
  if (session->nnapi->Execution_setMeasureTiming != NULL) {
    result = NTK_CALL(session, Execution_setMeasureTiming, loaded->execution, measure);
    if (result != 0) return ntk_fail_call(session, result, "Execution_setMeasureTiming", "to %d", measure);
  }
  if (session->nnapi->Execution_setTimeout != NULL && session->nnapi->feature_level >= 4) {
    result = NTK_CALL(session, Execution_setTimeout, loaded->execution, request->timeout);
    if (result != 0)
      return ntk_fail_call(session, result, "Execution_setTimeout", "to %llu ns", (unsigned long long)request->timeout);
  }
  return true;
}

static int compute(NtkSession *session, NtkLoaded *loaded, const char **call) {
  ANeuralNetworksExecution *execution = loaded->execution;
  if (loaded->burst != NULL) {
    *call = "Execution_burstCompute";
    return NTK_CALL(session, Execution_burstCompute, execution, loaded->burst);
  }
  if (session->nnapi->Execution_compute != NULL) {
    *call = "Execution_compute";
    return NTK_CALL(session, Execution_compute, execution);
  }
  ANeuralNetworksEvent *event = NULL;
  *call = "Execution_startCompute";
  int result = NTK_CALL(session, Execution_startCompute, execution, &event);
  if (result != 0) return result;
  *call = "Event_wait";
  result = NTK_CALL(session, Event_wait, event);
  session->nnapi->Event_free(event);
  return result;
}

/* Shape and length of an output after the run, or after one whose buffer was too small. */
static bool get_shape(NtkSession *session, NtkLoaded *loaded, uint32_t index, uint64_t *length) {
  NtkArgument *argument = &loaded->arguments[loaded->input_count + index];
  const NtkOperand *operand = argument->operand;
  argument->rank = operand->rank;
  memcpy(argument->dims, operand->dims, sizeof argument->dims);
  *length = operand->size;
  if (operand->size != 0) return true;
  if (!NTK_NEED(session, Execution_getOutputOperandRank, 3) || !NTK_NEED(session, Execution_getOutputOperandDimensions, 3)) return false;
  int result = NTK_CALL(session, Execution_getOutputOperandRank, loaded->execution, (int32_t)index, &argument->rank);
  bool known = result == 0 || result == ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE;
  if (!known) return ntk_fail_call(session, result, "Execution_getOutputOperandRank", "of output %u", index);
  if (argument->rank > NTK_MAX_RANK)
    return ntk_fail(session, NTK_STATUS_NNAPI, 0, "output %u: the driver says rank %u", index, argument->rank);
  if (argument->rank > 0) {
    result = NTK_CALL(session, Execution_getOutputOperandDimensions, loaded->execution, (int32_t)index, argument->dims);
    known = result == 0 || result == ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE;
    if (!known) return ntk_fail_call(session, result, "Execution_getOutputOperandDimensions", "of output %u", index);
  }
  if (!ntk_tensor_size(operand->type, argument->rank, argument->dims, length) || *length > NTK_MAX_PAYLOAD)
    return ntk_fail(session, NTK_STATUS_NNAPI, 0, "output %u: the driver says a shape of more than 1 GiB", index);
  return true;
}

/* After OUTPUT_INSUFFICIENT_SIZE: larger regions, by what the driver knows; doubled where it knows nothing. */
static bool enlarge(NtkSession *session, NtkLoaded *loaded) {
  bool grown = false;
  for (uint32_t i = 0; i < loaded->output_count; i++) {
    NtkArgument *argument = &loaded->arguments[loaded->input_count + i];
    uint64_t length;
    if (argument->operand->size != 0) continue;
    if (!get_shape(session, loaded, i, &length)) return false;
    if (length == 0) length = argument->length * 2;
    if (length <= argument->length) continue;
    if (length > NTK_MAX_PAYLOAD) return ntk_fail(session, NTK_STATUS_NNAPI, ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE, "output %u needs more than 1 GiB", i);
    argument->length = length;
    grown = true;
  }
  ntk_forget_execution(loaded);
  for (uint32_t i = 0; i < loaded->output_count; i++)
    if (!reserve_output(session, &loaded->arguments[loaded->input_count + i], i)) return false;
  return grown || ntk_fail(session, NTK_STATUS_NNAPI, ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE,
                           "ANeuralNetworksExecution_compute says that an output is too small, but not which");
}

static bool run_once(NtkSession *session, const Request *request, int *result) {
  NtkLoaded *loaded = request->loaded;
  bool reusable;
  const char *call = "";
  bool same = loaded->run_flags == request->flags && loaded->run_timeout == request->timeout && same_places(loaded);
  if (!same) ntk_forget_execution(loaded);
  if (loaded->execution == NULL) {
    if (!create_execution(session, loaded, &reusable) || !configure(session, request)) return false;
    remember_places(loaded);
    loaded->run_flags = request->flags;
    loaded->run_timeout = request->timeout;
    loaded->reusable = reusable;
  }
  *result = compute(session, loaded, &call);
  if (*result == 0 || *result == ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE) return true;
  return ntk_fail_call(session, *result, call, "of program %u", loaded->number);
}

static uint64_t duration(NtkSession *session, const Request *request, int32_t code) {
  uint64_t value = UINT64_MAX;
  NtkLoaded *loaded = request->loaded;
  if (!(request->flags & NTK_EXECUTE_MEASURE) || !loaded->one_device || session->nnapi->Execution_getDuration == NULL) return value;
  return NTK_CALL(session, Execution_getDuration, loaded->execution, code, &value) == 0 ? value : UINT64_MAX;
}

static bool run(NtkSession *session, Request *request) {
  NtkLoaded *loaded = request->loaded;
  uint64_t begin = ntk_now();
  int result = ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE;
  for (int attempt = 0; result != 0; attempt++) {
    if (attempt == ATTEMPTS)
      return ntk_fail(session, NTK_STATUS_NNAPI, result, "outputs were still too small after %d attempts", ATTEMPTS);
    if (attempt > 0 && !enlarge(session, loaded)) return false;
    if (!run_once(session, request, &result)) return false;
  }
  for (uint32_t i = 0; i < loaded->output_count; i++) {
    uint64_t length;
    if (!get_shape(session, loaded, i, &length)) return false;
    if (length > loaded->arguments[loaded->input_count + i].at->capacity)
      return ntk_fail(session, NTK_STATUS_NNAPI, 0, "output %u: the driver says %llu bytes, more than it was given", i, (unsigned long long)length);
    loaded->arguments[loaded->input_count + i].length = length;
  }
  request->execute_ns = ntk_now() - begin;
  request->hardware_ns = duration(session, request, ANEURALNETWORKS_DURATION_ON_HARDWARE);
  request->driver_ns = duration(session, request, ANEURALNETWORKS_DURATION_IN_DRIVER);
  return true;
}

/* --- the reply --- */

static void keep_outputs(NtkSession *session, NtkLoaded *loaded) {
  for (uint32_t i = 0; i < loaded->output_count; i++) {
    NtkArgument *argument = &loaded->arguments[loaded->input_count + i];
    NtkSlot *slot = argument->slot != NTK_NO_SLOT ? ntk_find_slot(session, argument->slot, true) : NULL;
    if (slot == NULL) continue;
    if (argument->at == &slot->spare) {
      NtkRegion region = slot->region;
      slot->region = slot->spare;
      slot->spare = region;
      argument->at = &slot->region;
    }
    ntk_slot_set(session, slot, argument->length, argument->rank, argument->dims);
  }
}

static bool reply(NtkSession *session, const Request *request) {
  static const uint8_t ZEROS[8];
  const NtkLoaded *loaded = request->loaded;
  NtkBuffer *meta = &session->meta;
  ntk_put_u64(meta, request->execute_ns);
  ntk_put_u64(meta, request->hardware_ns);
  ntk_put_u64(meta, request->driver_ns);
  ntk_put_u64(meta, ntk_now() - session->request_began);
  ntk_put_u32(meta, loaded->output_count);
  for (uint32_t i = 0; i < loaded->output_count; i++) {
    const NtkArgument *argument = &loaded->arguments[loaded->input_count + i];
    ntk_put_u64(meta, argument->length);
    ntk_put_u32(meta, argument->send);
    ntk_put_u32(meta, argument->rank);
    ntk_put(meta, argument->dims, argument->rank * sizeof *argument->dims);
  }
  ntk_put_padding(meta);
  for (uint32_t i = 0; i < loaded->output_count; i++) {
    const NtkArgument *argument = &loaded->arguments[loaded->input_count + i];
    if (!argument->send || argument->length == 0) continue;
    if (!ntk_reply_part(session, ntk_region_data(argument->at), (size_t)argument->length)) return false;
    size_t padding = (size_t)(padded(argument->length) - argument->length);
    if (padding > 0 && !ntk_reply_part(session, ZEROS, padding)) return false;
  }
  return true;
}

bool ntk_handle_execute(NtkSession *session) {
  Request request = {0};
  if (!take_request(session, &request)) return false;
  NtkLoaded *loaded = request.loaded;
  if (!take_inline(session, loaded) || !flip_inputs(session, loaded) || !prepare_outputs(session, loaded)) return false;
  bool fine = run(session, &request);
  if (fine) keep_outputs(session, loaded);
  if (!fine || !loaded->reusable) ntk_forget_execution(loaded);
  return fine && reply(session, &request);
}
