/* The contract between the host and the shim: frames, kinds, status codes, limits, version.
 *
 * Every integer is little endian. A session is a stream of requests from the host; each gets exactly one reply with the
 * same id, in order. Nothing from the other end is believed before it is checked: a malformed frame gets an error reply where the
 * stream is still in step (header sane), and ends the session, after an error reply, where it is not.
 *
 * The host's constants are read out of this file (android/protocol.py): keep each `#define NTK_NAME number` on one line.
 */
#ifndef NTK_PROTOCOL_H
#define NTK_PROTOCOL_H

#include <stdint.h>

#define NTK_PROTOCOL_VERSION 2
#define NTK_MAGIC 0x314B544E /* "NTK1" */

/* Limits, each checked on both ends. */
#define NTK_HEADER_BYTES 24
#define NTK_MAX_PAYLOAD 0x40000000 /* 1 GiB */
#define NTK_MAX_PROGRAM 0x10000000 /* 256 MiB */
#define NTK_MAX_ECHO 0x4000000     /* 64 MiB */
#define NTK_MAX_PROGRAMS 1024
#define NTK_MAX_SLOTS 1048576
#define NTK_MAX_DEVICES 64
#define NTK_MAX_LIBRARIES 2
#define NTK_MAX_THREADS 64
#define NTK_MAX_RANK 8
#define NTK_MAX_MESSAGE 4096
#define NTK_MAX_PATH 4096
#define NTK_HASH_BYTES 32

/* struct NtkHeader: 24 bytes in front of each payload. */
typedef struct {
  uint32_t magic;
  uint16_t kind;   /* NTK_HELLO ...; a reply repeats the request's kind */
  uint16_t status; /* requests: 0; replies: NTK_OK ... */
  uint32_t id;     /* chosen by the host, repeated in the reply */
  int32_t code;    /* requests: id of the last answer that the host has in full, 0 = it does not say; replies: the NNAPI result code
                      behind NTK_STATUS_NNAPI, or the errno behind NTK_STATUS_SYSTEM */
  uint64_t length; /* bytes of payload that follow */
} NtkHeader;

/* Kinds.
 *
 * HELLO     -> u32 version, u8[32] build hash (zeros = any), u32 load limit ms, u32 execute limit ms (0 = none)
 *           <- u32 version, u8[32] build hash, u32 pid, i32 runtime feature level (1..8), u32 pointer bits, str library,
 *              u32 ndevices, then per device: i32 type, i32 feature level (1..8), str name, str version
 *              (a request that lasts longer than its limit is ended by the supervisor: NTK_STATUS_DEADLINE)
 * OPEN      -> str path of the model file, u64 its size, str path of the side file ("" = none), u64 its size
 *           <- (empty)    (programs that are loaded keep the files they were loaded with)
 * LIBRARY   -> u32 library number (0 is the one of HELLO), str path ("" = software NNAPI that is part of the shim itself),
 *              u32 threads (0 = as the library likes)
 *           <- i32 runtime feature level, str library, u32 ndevices, per device as in HELLO
 *              (a second libneuralnetworks.so beside the device's; software NNAPI is set to everything it can, whatever the
 *              environment says. Programs of both libraries share slots, and tensors in them are not copied.)
 * LOAD      -> u32 program number, u32 library number, u32 ndevices (0 = let the runtime choose), u32 device number each,
 *              i32 preference (-1 = default), i32 priority (-1), u32 flags (NTK_LOAD_*), u64 compile timeout ns (0 = none),
 *              str cache directory ("" = none), u8[32] cache token, u64 length, program bytes
 *           <- u64 build ns, u64 compile ns, u32 ninputs, u32 noutputs,
 *              u64 bytes of constants used where they lie in a file, u64 bytes of constants copied
 * SUPPORTED -> as LOAD; asks getSupportedOperationsForDevices (no device given: all) and compiles nothing
 *           <- u32 noperations, then one byte each, in the order of models[0].operations
 * EXECUTE   -> u32 program number, u32 flags (NTK_EXECUTE_*), u64 timeout ns (0 = none), u32 ninputs, u32 noutputs,
 *              per input:  u32 slot, u32 source, u64 length, u32 rank, u32 dims[rank],
 *              per output: u32 slot (NTK_NO_SLOT = do not keep), u32 send (0/1), u64 capacity,
 *              zeros to a multiple of 8, then the inline inputs' bytes, each padded to 8
 *           <- u64 execute ns, u64 hardware ns, u64 driver ns (UINT64_MAX = not available), u64 request ns, u32 noutputs,
 *              per output: u64 length (of the tensor, sent or not), u32 sent (0/1), u32 rank, u32 dims[rank],
 *              zeros to a multiple of 8, then the sent outputs' bytes, each padded to 8
 *              Input sources: NTK_INLINE: the bytes follow, and stay in `slot` unless that is NTK_NO_SLOT. NTK_SLOT: what `slot`
 *              holds; length 0 and rank 0 = as they are there. NTK_SLOT_FLIPPED: the same, with the highest bit of each byte flipped
 *              (int8 for a program that takes uint8, and the other way round); the slot stays as it is. NTK_OMITTED: an optional
 *              operand without a value.
 *              Rank 0 = the dimensions that the program declares. Capacity (0 = unknown) is a first guess for an output of unknown
 *              size; one that proves too small is enlarged. execute ns = inside NNAPI; request ns = from frame to reply.
 * READ      -> u32 slot      <- u64 length, u32 rank, u32 dims[rank], zeros to a multiple of 8, bytes
 * WRITE     -> u32 slot, u64 length, u32 rank, u32 dims[rank], zeros to a multiple of 8, bytes      <- (empty)
 * DROP      -> u32 slot                      <- (empty)
 * UNLOAD    -> u32 program number            <- (empty)
 * STATS     -> (empty)                       <- u64 max resident KiB, u32 open programs, u32 kept slots, u64 kept bytes,
 *                                               u64 shared memory bytes, u32 open descriptors
 * ECHO      -> bytes                         <- the same bytes (measures the road)
 * BYE       -> (empty)                       <- (empty), then the shim exits with 0
 *
 * str = u32 length, bytes (UTF-8, no NUL). An error reply's payload is a str: what failed, on which object, with which value.
 * Fields are packed, without padding, except where the text says otherwise; "a multiple of 8" counts from the payload's start.
 */
#define NTK_HELLO 1
#define NTK_OPEN 2
#define NTK_LOAD 3
#define NTK_SUPPORTED 4
#define NTK_EXECUTE 5
#define NTK_READ 6
#define NTK_WRITE 7
#define NTK_DROP 8
#define NTK_UNLOAD 9
#define NTK_STATS 10
#define NTK_ECHO 11
#define NTK_BYE 12
#define NTK_LIBRARY 13

/* Status of a reply. "You are wrong", "the system refused" and "the driver failed" are different answers. */
#define NTK_STATUS_OK 0
#define NTK_STATUS_MALFORMED 1 /* the frame does not read as its kind says */
#define NTK_STATUS_VERSION 2   /* protocol version or build hash differ */
#define NTK_STATUS_STATE 3     /* right frame, wrong moment: execute before load, ... */
#define NTK_STATUS_PROGRAM 4   /* the program does not verify */
#define NTK_STATUS_SYSTEM 5    /* open, mmap, memory: code = errno */
#define NTK_STATUS_LIBRARY 6   /* libneuralnetworks.so cannot be loaded or lacks an entry point */
#define NTK_STATUS_NNAPI 7     /* an NNAPI call failed: code = its result, the text names the call */
#define NTK_STATUS_CRASHED 8   /* the worker died: code = the signal; programs, files and slots are gone, the session goes on */
#define NTK_STATUS_DEADLINE 9  /* the worker was killed because a request took longer than its limit; else as CRASHED */
#define NTK_STATUS_RESTARTED 10 /* the worker died before this request came, which was not begun; else as CRASHED */

#define NTK_LOAD_RELAX_FP16 1
#define NTK_LOAD_BURST 2
#define NTK_LOAD_COPY 4 /* copy constants out of the files: for drivers that may not map them */
#define NTK_EXECUTE_MEASURE 1

#define NTK_NO_SLOT 0xFFFFFFFF
#define NTK_INLINE 0
#define NTK_SLOT 1
#define NTK_OMITTED 2
#define NTK_SLOT_FLIPPED 3

/* Programs (schema/program.fbs). */
#define NTK_PROGRAM_VERSION 1
#define NTK_VALUE_NONE 0
#define NTK_VALUE_INLINE 1
#define NTK_VALUE_FILE 2
#define NTK_VALUE_OMITTED 3
#define NTK_VALUE_MODEL 4

#endif
