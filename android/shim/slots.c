/* Tensors that stay on the device between executions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

NtkSlot *ntk_find_slot(NtkSession *session, uint32_t number, bool create) {
  if (number >= NTK_MAX_SLOTS) {
    ntk_fail(session, NTK_STATUS_MALFORMED, 0, "slot %u: numbers go up to %d", number, NTK_MAX_SLOTS - 1);
    return NULL;
  }
  NtkSlot **page = &session->slots[number / NTK_SLOTS_PER_PAGE];
  if (*page == NULL && create) *page = calloc(NTK_SLOTS_PER_PAGE, sizeof **page);
  if (*page == NULL && create) {
    ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "slot %u: out of memory", number);
    return NULL;
  }
  NtkSlot *slot = *page != NULL ? &(*page)[number % NTK_SLOTS_PER_PAGE] : NULL;
  if (!create && (slot == NULL || !slot->valid)) {
    ntk_fail(session, NTK_STATUS_STATE, 0, "slot %u holds no tensor", number);
    return NULL;
  }
  return slot;
}

void ntk_slot_clear(NtkSession *session, NtkSlot *slot) {
  if (!slot->valid) return;
  slot->valid = false;
  session->slot_count--;
  session->slot_bytes -= slot->length;
}

void ntk_slot_set(NtkSession *session, NtkSlot *slot, uint64_t length, uint32_t rank, const uint32_t *dims) {
  ntk_slot_clear(session, slot);
  slot->valid = true;
  slot->length = length;
  slot->rank = rank;
  memcpy(slot->dims, dims, rank * sizeof *dims);
  session->slot_count++;
  session->slot_bytes += length;
}

bool ntk_handle_read(NtkSession *session) {
  uint32_t number;
  if (!ntk_take_u32(session->source, &number)) return ntk_fail_short(session, "slot number");
  if (!ntk_expect_end(session)) return false;
  const NtkSlot *slot = ntk_find_slot(session, number, false);
  if (slot == NULL) return false;
  ntk_put_u64(&session->meta, slot->length);
  ntk_put_u32(&session->meta, slot->rank);
  for (uint32_t i = 0; i < slot->rank; i++) ntk_put_u32(&session->meta, slot->dims[i]);
  ntk_put_padding(&session->meta);
  return slot->length == 0 || ntk_reply_part(session, ntk_region_data(&slot->region), (size_t)slot->length);
}

bool ntk_handle_write(NtkSession *session) {
  NtkSource *source = session->source;
  uint32_t number, rank, dims[NTK_MAX_RANK];
  uint64_t length;
  if (!ntk_take_u32(source, &number) || !ntk_take_u64(source, &length) || !ntk_take_u32(source, &rank))
    return ntk_fail_short(session, "slot, length and rank");
  if (rank > NTK_MAX_RANK) return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "slot %u: rank %u", number, rank);
  if (!ntk_take(source, dims, rank * sizeof *dims) || !ntk_take_padding(source)) return ntk_fail_short(session, "dimensions");
  if (length != source->left)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "slot %u: length %llu, but %llu bytes follow", number,
                    (unsigned long long)length, (unsigned long long)source->left);
  NtkSlot *slot = ntk_find_slot(session, number, true);
  if (slot == NULL) return false;
  ntk_slot_clear(session, slot);
  if (!ntk_region_reserve(&session->arena, &slot->region, (size_t)length))
    return ntk_fail(session, NTK_STATUS_SYSTEM, errno, "slot %u: no memory for %llu bytes", number, (unsigned long long)length);
  if (!ntk_take(source, ntk_region_data(&slot->region), length)) return ntk_fail_short(session, "bytes");
  ntk_slot_set(session, slot, length, rank, dims);
  return true;
}

bool ntk_handle_drop(NtkSession *session) {
  uint32_t number;
  if (!ntk_take_u32(session->source, &number)) return ntk_fail_short(session, "slot number");
  if (!ntk_expect_end(session)) return false;
  NtkSlot *slot = ntk_find_slot(session, number, false);
  if (slot == NULL) return false;
  ntk_slot_clear(session, slot);
  ntk_region_release(&session->arena, &slot->region);
  ntk_region_release(&session->arena, &slot->spare);
  return true;
}

void ntk_slots_free(NtkSession *session) {
  for (uint32_t page = 0; page < NTK_SLOT_PAGES; page++) {
    free(session->slots[page]); /* their memory goes with the arena */
    session->slots[page] = NULL;
  }
}
