/* One block of memory for all values that live only within an execution.
 *
 * Each value (and each step's workspace) takes a place for the steps during which it lives; two that never live at the same time may
 * lie over each other. The largest are placed first, each at the lowest place that is free. An operation that may work in place puts
 * its output over its dying input.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  size_t bytes, place;
  uint32_t first, last;
  size_t *result;
} Block;

/* Places of values in the order of slots, of workspaces in the order of steps. */
static void find_lifetimes(SnnInstance *instance) {
  const ANeuralNetworksModel *model = instance->model;
  for (uint32_t i = 0; i < model->n_slots; i++) {
    instance->slots[i].first = instance->slots[i].last = 0;
    instance->slots[i].shares = i;
  }
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    const SnnModelNode *node = instance->steps[i].source;
    for (uint32_t o = node->n_in; o < node->n_in + node->n_out; o++) {
      SnnSlot *slot = snn_operand_slot(instance, node->operands[o]);
      slot->first = slot->last = i;
    }
  }
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    const SnnModelNode *node = instance->steps[i].source;
    for (uint32_t k = 0; k < node->n_in; k++) {
      SnnSlot *slot = snn_operand_slot(instance, node->operands[k]);
      if (slot != NULL) slot->last = i;
    }
  }
}

static bool in_arena(const SnnSlot *slot) {
  return slot->declared->lifetime == SNN_TEMPORARY && slot->shape_known && !slot->late;
}

/* Output 0 over input 0: of the same size, and nobody else reads the input afterwards or in this step. */
static void share_places(SnnInstance *instance) {
  for (uint32_t i = 0; i < instance->model->n_nodes; i++) {
    SnnStep *step = &instance->steps[i];
    const SnnModelNode *node = step->source;
    if (!(node->op->flags & SNN_IN_PLACE) || step->late || step->skip || node->n_in == 0 || node->n_out == 0) continue;
    SnnSlot *in = snn_operand_slot(instance, node->operands[0]), *out = snn_operand_slot(instance, node->operands[node->n_in]);
    if (in == NULL || !in_arena(in) || !in_arena(out) || in->last != i || in->bytes != out->bytes) continue;
    if (snn_element_size(in->tensor.type) != snn_element_size(out->tensor.type)) continue;
    bool twice = false;
    for (uint32_t k = 1; k < node->n_in; k++) twice |= node->operands[k] == node->operands[0];
    if (twice) continue;
    SnnSlot *owner = &instance->slots[in->shares];
    out->shares = in->shares;
    if (out->last > owner->last) owner->last = out->last;
  }
}

static int larger_first(const void *a, const void *b) {
  const Block *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->result < y->result ? -1 : x->result > y->result; /* the same plan each time */
}

/* Lowest place for blocks[index]; `placed` holds those before it, ordered by place. */
static size_t find_place(const Block *blocks, const uint32_t *placed, uint32_t index) {
  size_t place = 0;
  const Block *block = &blocks[index];
  for (uint32_t i = 0; i < index; i++) {
    const Block *other = &blocks[placed[i]];
    if (other->last < block->first || other->first > block->last) continue;
    if (other->place >= place + block->bytes) break;
    if (other->place + other->bytes > place) place = other->place + other->bytes;
  }
  return place;
}

static bool place_blocks(Block *blocks, uint32_t count, size_t *total) {
  uint32_t *placed = snn_allocate(count, sizeof(placed[0]));
  if (placed == NULL) return false;
  if (count > 0) qsort(blocks, count, sizeof(blocks[0]), larger_first);
  *total = 0;
  for (uint32_t i = 0; i < count; i++) {
    size_t place = find_place(blocks, placed, i);
    if (place > PTRDIFF_MAX || blocks[i].bytes > PTRDIFF_MAX - place) return free(placed), false;
    blocks[i].place = *blocks[i].result = place;
    if (place + blocks[i].bytes > *total) *total = place + blocks[i].bytes;
    uint32_t at = i;
    for (; at > 0 && blocks[placed[at - 1]].place > place; at--) placed[at] = placed[at - 1];
    placed[at] = i;
  }
  free(placed);
  return true;
}

/* Activations stream through: in huge pages, where there are such, they do so faster. */
static void *allocate(size_t bytes) {
  void *block = NULL;
  if (bytes < SNN_HUGE_PAGE) return snn_allocate_aligned(bytes);
  if (posix_memalign(&block, SNN_HUGE_PAGE, bytes) != 0) return NULL;
  snn_advise(block, bytes, SNN_HUGE_PAGE, SNN_ADVISE_HUGE);
  return block;
}

bool snn_plan_arena(SnnInstance *instance) {
  const ANeuralNetworksModel *model = instance->model;
  find_lifetimes(instance);
  share_places(instance);
  Block *blocks = snn_allocate((size_t)model->n_slots + model->n_nodes, sizeof(blocks[0]));
  if (blocks == NULL) return false;
  uint32_t count = 0;
  for (uint32_t i = 0; i < model->n_slots; i++) {
    SnnSlot *slot = &instance->slots[i];
    if (!in_arena(slot) || slot->shares != i) continue;
    blocks[count++] = (Block){snn_align(slot->bytes == 0 ? 1 : slot->bytes), 0, slot->first, slot->last, &slot->place};
  }
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    SnnStep *step = &instance->steps[i];
    step->workspace = step->place = 0;
    if (step->late) continue;
    if (__builtin_add_overflow(snn_shadows_bytes(step), snn_align(step->node.scratch_bytes), &step->workspace)) {
      return free(blocks), false;
    }
    if (step->workspace > 0) blocks[count++] = (Block){step->workspace, 0, i, i, &step->place};
  }
  bool ok = place_blocks(blocks, count, &instance->arena_bytes);
  free(blocks);
  if (!ok) return false;
  if (instance->arena == NULL || instance->arena_bytes > instance->arena_capacity) {
    free(instance->arena);
    instance->arena = allocate(instance->arena_bytes);
    if (instance->arena == NULL) return false;
    instance->arena_capacity = instance->arena_bytes;
  }
  snn_bind_arena(instance);
  return true;
}

void snn_bind_arena(SnnInstance *instance) {
  for (uint32_t i = 0; i < instance->model->n_slots; i++) {
    SnnSlot *slot = &instance->slots[i];
    if (!in_arena(slot)) continue;
    slot->place = instance->slots[slot->shares].place;
    slot->tensor.data = instance->arena + slot->place;
  }
  for (uint32_t i = 0; i < instance->model->n_nodes; i++) {
    SnnStep *step = &instance->steps[i];
    if (!step->late) snn_bind_workspace(step, step->workspace > 0 ? instance->arena + step->place : instance->arena);
  }
}
