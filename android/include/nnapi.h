/* The C interface of the Android Neural Networks API, feature levels 1 to 8.
 *
 * The ABI is Android's: names, numbers, struct layouts and calling conventions are the public ones, so an object compiled against this
 * header works with any libneuralnetworks.so, the phone's or the software one of this project. "[n]" behind a function or a value is
 * the feature level that brought it (1 = Android 8.1, API 27; see ANEURALNETWORKS_FEATURE_LEVEL_n); without a mark it is 1.
 *
 * Conventions
 *   - A function returns an ANEURALNETWORKS_* result code; 0 is success. Free functions accept NULL.
 *   - Objects go through stages: a model or compilation is changed until its `finish`, an execution until it is started.
 *     A call in the wrong stage answers ANEURALNETWORKS_BAD_STATE, a NULL that is not allowed ANEURALNETWORKS_UNEXPECTED_NULL, a
 *     wrong index, length, type or value ANEURALNETWORKS_BAD_DATA.
 *   - Durations are nanoseconds.
 */
#ifndef NNAPI_TOOLKIT_NNAPI_H
#define NNAPI_TOOLKIT_NNAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(SOFTNN_BUILD)
#define ANEURALNETWORKS_API __attribute__((visibility("default")))
#else
#define ANEURALNETWORKS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- enumerations ---------------------------------------------------------------------------------------------------------- */

/* Result codes. */
enum {
  ANEURALNETWORKS_NO_ERROR = 0,
  ANEURALNETWORKS_OUT_OF_MEMORY = 1,
  ANEURALNETWORKS_INCOMPLETE = 2,               /* an object is not finished */
  ANEURALNETWORKS_UNEXPECTED_NULL = 3,
  ANEURALNETWORKS_BAD_DATA = 4,                 /* an operand, operation or argument is not valid */
  ANEURALNETWORKS_OP_FAILED = 5,                /* the device could not compile or run */
  ANEURALNETWORKS_BAD_STATE = 6,                /* the call comes at the wrong moment */
  ANEURALNETWORKS_UNMAPPABLE = 7,               /* a file descriptor cannot be mapped */
  ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE = 8, /* [3] an output of unknown size does not fit into its buffer */
  ANEURALNETWORKS_UNAVAILABLE_DEVICE = 9,       /* [3] */
  ANEURALNETWORKS_MISSED_DEADLINE_TRANSIENT = 10,    /* [4] too late now, may work when tried again */
  ANEURALNETWORKS_MISSED_DEADLINE_PERSISTENT = 11,   /* [4] too late, and will be again */
  ANEURALNETWORKS_RESOURCE_EXHAUSTED_TRANSIENT = 12, /* [4] */
  ANEURALNETWORKS_RESOURCE_EXHAUSTED_PERSISTENT = 13, /* [4] */
  ANEURALNETWORKS_DEAD_OBJECT = 14,             /* [4] the driver died; devices must be asked for again */
};

/* Feature levels as getRuntimeFeatureLevel and Device_getFeatureLevel report them. */
enum {
  ANEURALNETWORKS_FEATURE_LEVEL_1 = 27, /* Android 8.1 */
  ANEURALNETWORKS_FEATURE_LEVEL_2 = 28, /* Android 9 */
  ANEURALNETWORKS_FEATURE_LEVEL_3 = 29, /* Android 10 */
  ANEURALNETWORKS_FEATURE_LEVEL_4 = 30, /* Android 11 */
  ANEURALNETWORKS_FEATURE_LEVEL_5 = 31, /* Android 12 */
  ANEURALNETWORKS_FEATURE_LEVEL_6 = 1000006,
  ANEURALNETWORKS_FEATURE_LEVEL_7 = 1000007,
  ANEURALNETWORKS_FEATURE_LEVEL_8 = 1000008,
};

/* Operand types. Real value of a quantised element = (stored - zero point) * scale. */
enum {
  ANEURALNETWORKS_FLOAT32 = 0,
  ANEURALNETWORKS_INT32 = 1,
  ANEURALNETWORKS_UINT32 = 2,
  ANEURALNETWORKS_TENSOR_FLOAT32 = 3,
  ANEURALNETWORKS_TENSOR_INT32 = 4,
  ANEURALNETWORKS_TENSOR_QUANT8_ASYMM = 5,            /* unsigned 8 bit */
  ANEURALNETWORKS_BOOL = 6,                           /* [3] one byte, 0 = false */
  ANEURALNETWORKS_TENSOR_QUANT16_SYMM = 7,            /* [3] signed 16 bit, zero point 0 */
  ANEURALNETWORKS_TENSOR_FLOAT16 = 8,                 /* [3] */
  ANEURALNETWORKS_TENSOR_BOOL8 = 9,                   /* [3] one byte, 0 = false */
  ANEURALNETWORKS_FLOAT16 = 10,                       /* [3] */
  ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL = 11, /* [3] signed 8 bit, one scale per channel, zero point 0 */
  ANEURALNETWORKS_TENSOR_QUANT16_ASYMM = 12,          /* [3] unsigned 16 bit */
  ANEURALNETWORKS_TENSOR_QUANT8_SYMM = 13,            /* [3] signed 8 bit, zero point 0 */
  ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED = 14,    /* [4] signed 8 bit */
  ANEURALNETWORKS_MODEL = 15,                         /* [4] a model that IF or WHILE refers to */
  ANEURALNETWORKS_OEM_SCALAR = 10000,                 /* deprecated */
  ANEURALNETWORKS_TENSOR_OEM_BYTE = 10001,            /* deprecated */
};

/* Operations. */
enum {
  /* from feature level 1 */
  ANEURALNETWORKS_ADD = 0,
  ANEURALNETWORKS_AVERAGE_POOL_2D = 1,
  ANEURALNETWORKS_CONCATENATION = 2,
  ANEURALNETWORKS_CONV_2D = 3,
  ANEURALNETWORKS_DEPTHWISE_CONV_2D = 4,
  ANEURALNETWORKS_DEPTH_TO_SPACE = 5,
  ANEURALNETWORKS_DEQUANTIZE = 6,
  ANEURALNETWORKS_EMBEDDING_LOOKUP = 7,
  ANEURALNETWORKS_FLOOR = 8,
  ANEURALNETWORKS_FULLY_CONNECTED = 9,
  ANEURALNETWORKS_HASHTABLE_LOOKUP = 10,
  ANEURALNETWORKS_L2_NORMALIZATION = 11,
  ANEURALNETWORKS_L2_POOL_2D = 12,
  ANEURALNETWORKS_LOCAL_RESPONSE_NORMALIZATION = 13,
  ANEURALNETWORKS_LOGISTIC = 14,
  ANEURALNETWORKS_LSH_PROJECTION = 15,
  ANEURALNETWORKS_LSTM = 16,
  ANEURALNETWORKS_MAX_POOL_2D = 17,
  ANEURALNETWORKS_MUL = 18,
  ANEURALNETWORKS_RELU = 19,
  ANEURALNETWORKS_RELU1 = 20,
  ANEURALNETWORKS_RELU6 = 21,
  ANEURALNETWORKS_RESHAPE = 22,
  ANEURALNETWORKS_RESIZE_BILINEAR = 23,
  ANEURALNETWORKS_RNN = 24,
  ANEURALNETWORKS_SOFTMAX = 25,
  ANEURALNETWORKS_SPACE_TO_DEPTH = 26,
  ANEURALNETWORKS_SVDF = 27,
  ANEURALNETWORKS_TANH = 28,
  /* from feature level 2 */
  ANEURALNETWORKS_BATCH_TO_SPACE_ND = 29,
  ANEURALNETWORKS_DIV = 30,
  ANEURALNETWORKS_MEAN = 31,
  ANEURALNETWORKS_PAD = 32,
  ANEURALNETWORKS_SPACE_TO_BATCH_ND = 33,
  ANEURALNETWORKS_SQUEEZE = 34,
  ANEURALNETWORKS_STRIDED_SLICE = 35,
  ANEURALNETWORKS_SUB = 36,
  ANEURALNETWORKS_TRANSPOSE = 37,
  /* from feature level 3 */
  ANEURALNETWORKS_ABS = 38,
  ANEURALNETWORKS_ARGMAX = 39,
  ANEURALNETWORKS_ARGMIN = 40,
  ANEURALNETWORKS_AXIS_ALIGNED_BBOX_TRANSFORM = 41,
  ANEURALNETWORKS_BIDIRECTIONAL_SEQUENCE_LSTM = 42,
  ANEURALNETWORKS_BIDIRECTIONAL_SEQUENCE_RNN = 43,
  ANEURALNETWORKS_BOX_WITH_NMS_LIMIT = 44,
  ANEURALNETWORKS_CAST = 45,
  ANEURALNETWORKS_CHANNEL_SHUFFLE = 46,
  ANEURALNETWORKS_DETECTION_POSTPROCESSING = 47,
  ANEURALNETWORKS_EQUAL = 48,
  ANEURALNETWORKS_EXP = 49,
  ANEURALNETWORKS_EXPAND_DIMS = 50,
  ANEURALNETWORKS_GATHER = 51,
  ANEURALNETWORKS_GENERATE_PROPOSALS = 52,
  ANEURALNETWORKS_GREATER = 53,
  ANEURALNETWORKS_GREATER_EQUAL = 54,
  ANEURALNETWORKS_GROUPED_CONV_2D = 55,
  ANEURALNETWORKS_HEATMAP_MAX_KEYPOINT = 56,
  ANEURALNETWORKS_INSTANCE_NORMALIZATION = 57,
  ANEURALNETWORKS_LESS = 58,
  ANEURALNETWORKS_LESS_EQUAL = 59,
  ANEURALNETWORKS_LOG = 60,
  ANEURALNETWORKS_LOGICAL_AND = 61,
  ANEURALNETWORKS_LOGICAL_NOT = 62,
  ANEURALNETWORKS_LOGICAL_OR = 63,
  ANEURALNETWORKS_LOG_SOFTMAX = 64,
  ANEURALNETWORKS_MAXIMUM = 65,
  ANEURALNETWORKS_MINIMUM = 66,
  ANEURALNETWORKS_NEG = 67,
  ANEURALNETWORKS_NOT_EQUAL = 68,
  ANEURALNETWORKS_PAD_V2 = 69,
  ANEURALNETWORKS_POW = 70,
  ANEURALNETWORKS_PRELU = 71,
  ANEURALNETWORKS_QUANTIZE = 72,
  ANEURALNETWORKS_QUANTIZED_16BIT_LSTM = 73,
  ANEURALNETWORKS_RANDOM_MULTINOMIAL = 74,
  ANEURALNETWORKS_REDUCE_ALL = 75,
  ANEURALNETWORKS_REDUCE_ANY = 76,
  ANEURALNETWORKS_REDUCE_MAX = 77,
  ANEURALNETWORKS_REDUCE_MIN = 78,
  ANEURALNETWORKS_REDUCE_PROD = 79,
  ANEURALNETWORKS_REDUCE_SUM = 80,
  ANEURALNETWORKS_ROI_ALIGN = 81,
  ANEURALNETWORKS_ROI_POOLING = 82,
  ANEURALNETWORKS_RSQRT = 83,
  ANEURALNETWORKS_SELECT = 84,
  ANEURALNETWORKS_SIN = 85,
  ANEURALNETWORKS_SLICE = 86,
  ANEURALNETWORKS_SPLIT = 87,
  ANEURALNETWORKS_SQRT = 88,
  ANEURALNETWORKS_TILE = 89,
  ANEURALNETWORKS_TOPK_V2 = 90,
  ANEURALNETWORKS_TRANSPOSE_CONV_2D = 91,
  ANEURALNETWORKS_UNIDIRECTIONAL_SEQUENCE_LSTM = 92,
  ANEURALNETWORKS_UNIDIRECTIONAL_SEQUENCE_RNN = 93,
  ANEURALNETWORKS_RESIZE_NEAREST_NEIGHBOR = 94,
  /* from feature level 4 */
  ANEURALNETWORKS_QUANTIZED_LSTM = 95,
  ANEURALNETWORKS_IF = 96,
  ANEURALNETWORKS_WHILE = 97,
  ANEURALNETWORKS_ELU = 98,
  ANEURALNETWORKS_HARD_SWISH = 99,
  ANEURALNETWORKS_FILL = 100,
  ANEURALNETWORKS_RANK = 101,
  /* from feature level 6 */
  ANEURALNETWORKS_BATCH_MATMUL = 102,
  ANEURALNETWORKS_PACK = 103,
  /* from feature level 7 */
  ANEURALNETWORKS_MIRROR_PAD = 104,
  ANEURALNETWORKS_REVERSE = 105,
  ANEURALNETWORKS_OEM_OPERATION = 10000, /* deprecated */
};

/* Activation that an operation applies to its result. */
enum {
  ANEURALNETWORKS_FUSED_NONE = 0,
  ANEURALNETWORKS_FUSED_RELU = 1,  /* max(0, x) */
  ANEURALNETWORKS_FUSED_RELU1 = 2, /* min(1, max(-1, x)) */
  ANEURALNETWORKS_FUSED_RELU6 = 3, /* min(6, max(0, x)) */
};

/* Implicit padding. */
enum {
  ANEURALNETWORKS_PADDING_SAME = 1,  /* as many positions as the stride leaves; the odd cell goes to the end */
  ANEURALNETWORKS_PADDING_VALID = 2, /* no padding */
};

/* What a compilation should favour. */
enum {
  ANEURALNETWORKS_PREFER_LOW_POWER = 0,
  ANEURALNETWORKS_PREFER_FAST_SINGLE_ANSWER = 1, /* the default */
  ANEURALNETWORKS_PREFER_SUSTAINED_SPEED = 2,
};

/* Priority among the executions of one application. [4] */
enum {
  ANEURALNETWORKS_PRIORITY_LOW = 90,
  ANEURALNETWORKS_PRIORITY_MEDIUM = 100,
  ANEURALNETWORKS_PRIORITY_HIGH = 110,
  ANEURALNETWORKS_PRIORITY_DEFAULT = ANEURALNETWORKS_PRIORITY_MEDIUM,
};

/* Device types. [3] */
enum {
  ANEURALNETWORKS_DEVICE_UNKNOWN = 0,
  ANEURALNETWORKS_DEVICE_OTHER = 1,
  ANEURALNETWORKS_DEVICE_CPU = 2,
  ANEURALNETWORKS_DEVICE_GPU = 3,
  ANEURALNETWORKS_DEVICE_ACCELERATOR = 4,
};

/* What getDuration measures; "fenced" counts from the moment all dependencies were signalled. [3], fenced [4] */
enum {
  ANEURALNETWORKS_DURATION_ON_HARDWARE = 0,
  ANEURALNETWORKS_DURATION_IN_DRIVER = 1,
  ANEURALNETWORKS_FENCED_DURATION_ON_HARDWARE = 2,
  ANEURALNETWORKS_FENCED_DURATION_IN_DRIVER = 3,
};

enum {
  ANEURALNETWORKS_MAX_SIZE_OF_IMMEDIATELY_COPIED_VALUES = 128, /* bytes; a longer value is used where it lies */
  ANEURALNETWORKS_BYTE_SIZE_OF_CACHE_TOKEN = 32,
};

/* --- types ------------------------------------------------------------------------------------------------------------------ */

typedef struct ANeuralNetworksMemory ANeuralNetworksMemory;           /* memory that operands' values lie in */
typedef struct ANeuralNetworksMemoryDesc ANeuralNetworksMemoryDesc;   /* [4] describes memory that a device may hold */
typedef struct ANeuralNetworksModel ANeuralNetworksModel;             /* operands and operations */
typedef struct ANeuralNetworksCompilation ANeuralNetworksCompilation; /* a model prepared for devices */
typedef struct ANeuralNetworksExecution ANeuralNetworksExecution;     /* one use of a compilation */
typedef struct ANeuralNetworksBurst ANeuralNetworksBurst;             /* [3] a sequence of executions */
typedef struct ANeuralNetworksEvent ANeuralNetworksEvent;             /* signalled at the end of an execution */
typedef struct ANeuralNetworksDevice ANeuralNetworksDevice;           /* [3] lives as long as the library */
typedef struct AHardwareBuffer AHardwareBuffer;

typedef int32_t ANeuralNetworksOperationType;

/* The type of an operand. Scalars have dimensionCount 0; so has a tensor of unknown rank [3]. A dimension 0 is unknown. */
typedef struct ANeuralNetworksOperandType {
  int32_t type;
  uint32_t dimensionCount;
  const uint32_t *dimensions;
  float scale;       /* 0 where the type has none */
  int32_t zeroPoint; /* 0 where the type has none */
} ANeuralNetworksOperandType;

/* The scales of a TENSOR_QUANT8_SYMM_PER_CHANNEL operand: one for each index of dimension channelDim. [3] */
typedef struct ANeuralNetworksSymmPerChannelQuantParams {
  uint32_t channelDim;
  uint32_t scaleCount;
  const float *scales;
} ANeuralNetworksSymmPerChannelQuantParams;

/* --- run time and devices --------------------------------------------------------------------------------------------------- */

/* The run time's level, one of ANEURALNETWORKS_FEATURE_LEVEL_*. [5] */
ANEURALNETWORKS_API int64_t ANeuralNetworks_getRuntimeFeatureLevel(void);
/* Number of devices. [3] */
ANEURALNETWORKS_API int ANeuralNetworks_getDeviceCount(uint32_t *numDevices);
/* The device at an index below the count; not owned by the caller. [3] */
ANEURALNETWORKS_API int ANeuralNetworks_getDevice(uint32_t devIndex, ANeuralNetworksDevice **device);
/* The device's name, unique among the devices of the system. The string lives as long as the device. [3] */
ANEURALNETWORKS_API int ANeuralNetworksDevice_getName(const ANeuralNetworksDevice *device, const char **name);
/* One of ANEURALNETWORKS_DEVICE_*. [3] */
ANEURALNETWORKS_API int ANeuralNetworksDevice_getType(const ANeuralNetworksDevice *device, int32_t *type);
/* The version of the device's driver. [3] */
ANEURALNETWORKS_API int ANeuralNetworksDevice_getVersion(const ANeuralNetworksDevice *device, const char **version);
/* The level the device supports; can differ from the run time's. [3] */
ANEURALNETWORKS_API int ANeuralNetworksDevice_getFeatureLevel(const ANeuralNetworksDevice *device, int64_t *featureLevel);
/* Waits until the device is usable again after DEAD_OBJECT. [4] */
ANEURALNETWORKS_API int ANeuralNetworksDevice_wait(const ANeuralNetworksDevice *device);
/* Loop timeout of an execution that sets none, and the greatest that can be set. [4] */
ANEURALNETWORKS_API uint64_t ANeuralNetworks_getDefaultLoopTimeout(void);
ANEURALNETWORKS_API uint64_t ANeuralNetworks_getMaximumLoopTimeout(void);

/* --- memory ----------------------------------------------------------------------------------------------------------------- */

/* Memory that is `size` bytes of a file from `offset`; `protect` as for mmap. The descriptor may be closed afterwards. */
ANEURALNETWORKS_API int ANeuralNetworksMemory_createFromFd(size_t size, int protect, int fd, size_t offset,
                                                           ANeuralNetworksMemory **memory);
/* Memory in an AHardwareBuffer. [3] */
ANEURALNETWORKS_API int ANeuralNetworksMemory_createFromAHardwareBuffer(const AHardwareBuffer *ahwb, ANeuralNetworksMemory **memory);
/* Memory as a finished descriptor asks for; its content is unset until a copy or an execution writes it. [4] */
ANEURALNETWORKS_API int ANeuralNetworksMemory_createFromDesc(const ANeuralNetworksMemoryDesc *desc, ANeuralNetworksMemory **memory);
/* Copies all of one memory into another of the same size. [4] */
ANEURALNETWORKS_API int ANeuralNetworksMemory_copy(const ANeuralNetworksMemory *src, const ANeuralNetworksMemory *dst);
/* Ends the client's hold on it; it stays for models and executions that use it. */
ANEURALNETWORKS_API void ANeuralNetworksMemory_free(ANeuralNetworksMemory *memory);

/* A descriptor collects the roles (inputs and outputs of finished compilations) that a memory is to be used in. [4] */
ANEURALNETWORKS_API int ANeuralNetworksMemoryDesc_create(ANeuralNetworksMemoryDesc **desc);
ANEURALNETWORKS_API void ANeuralNetworksMemoryDesc_free(ANeuralNetworksMemoryDesc *desc);
/* Adds a role; frequency in (0, 1] tells how often it is used so. Roles must agree on type, quantisation and dimensions. [4] */
ANEURALNETWORKS_API int ANeuralNetworksMemoryDesc_addInputRole(ANeuralNetworksMemoryDesc *desc, const ANeuralNetworksCompilation *compilation,
                                                               uint32_t index, float frequency);
ANEURALNETWORKS_API int ANeuralNetworksMemoryDesc_addOutputRole(ANeuralNetworksMemoryDesc *desc,
                                                                const ANeuralNetworksCompilation *compilation, uint32_t index,
                                                                float frequency);
/* Gives dimensions that the roles leave unknown. [4] */
ANEURALNETWORKS_API int ANeuralNetworksMemoryDesc_setDimensions(ANeuralNetworksMemoryDesc *desc, uint32_t rank, const uint32_t *dimensions);
/* No roles afterwards. [4] */
ANEURALNETWORKS_API int ANeuralNetworksMemoryDesc_finish(ANeuralNetworksMemoryDesc *desc);

/* --- model ------------------------------------------------------------------------------------------------------------------ */

ANEURALNETWORKS_API int ANeuralNetworksModel_create(ANeuralNetworksModel **model);
/* Not before every compilation of the model is freed. */
ANEURALNETWORKS_API void ANeuralNetworksModel_free(ANeuralNetworksModel *model);
/* Checks the whole model; nothing can be changed afterwards. */
ANEURALNETWORKS_API int ANeuralNetworksModel_finish(ANeuralNetworksModel *model);
/* Adds an operand; its index is the number of operands added before. */
ANEURALNETWORKS_API int ANeuralNetworksModel_addOperand(ANeuralNetworksModel *model, const ANeuralNetworksOperandType *type);
/* Makes an operand constant. Up to 128 bytes are copied, a longer buffer must live and stay unchanged as long as the model is in use.
 * NULL with length 0 omits an optional operand. */
ANEURALNETWORKS_API int ANeuralNetworksModel_setOperandValue(ANeuralNetworksModel *model, int32_t index, const void *buffer, size_t length);
/* Gives the scales of a per-channel operand. [3] */
ANEURALNETWORKS_API int ANeuralNetworksModel_setOperandSymmPerChannelQuantParams(
    ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksSymmPerChannelQuantParams *channelQuant);
/* Makes an operand constant with the bytes of a memory, which must live as long as the model is in use. */
ANEURALNETWORKS_API int ANeuralNetworksModel_setOperandValueFromMemory(ANeuralNetworksModel *model, int32_t index,
                                                                       const ANeuralNetworksMemory *memory, size_t offset, size_t length);
/* Makes an operand of type MODEL refer to a finished model, which must live as long as this one. [4] */
ANEURALNETWORKS_API int ANeuralNetworksModel_setOperandValueFromModel(ANeuralNetworksModel *model, int32_t index,
                                                                      const ANeuralNetworksModel *value);
/* Adds an operation. Operations may come in any order. */
ANEURALNETWORKS_API int ANeuralNetworksModel_addOperation(ANeuralNetworksModel *model, ANeuralNetworksOperationType type,
                                                          uint32_t inputCount, const uint32_t *inputs, uint32_t outputCount,
                                                          const uint32_t *outputs);
/* Names the operands that are the model's inputs and outputs; executions use the positions in these lists. */
ANEURALNETWORKS_API int ANeuralNetworksModel_identifyInputsAndOutputs(ANeuralNetworksModel *model, uint32_t inputCount,
                                                                      const uint32_t *inputs, uint32_t outputCount,
                                                                      const uint32_t *outputs);
/* Lets float32 be computed with the range and precision of float16. [2] */
ANEURALNETWORKS_API int ANeuralNetworksModel_relaxComputationFloat32toFloat16(ANeuralNetworksModel *model, bool allow);
/* For each operation in the order of addOperation: does at least one of the devices support it? [3] */
ANEURALNETWORKS_API int ANeuralNetworksModel_getSupportedOperationsForDevices(const ANeuralNetworksModel *model,
                                                                              const ANeuralNetworksDevice *const *devices,
                                                                              uint32_t numDevices, bool *supportedOps);

/* --- compilation ------------------------------------------------------------------------------------------------------------ */

/* A compilation of a finished model; the run time chooses the devices. */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_create(ANeuralNetworksModel *model, ANeuralNetworksCompilation **compilation);
/* A compilation for just these devices, without fallback to others. [3] */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_createForDevices(ANeuralNetworksModel *model,
                                                                    const ANeuralNetworksDevice *const *devices, uint32_t numDevices,
                                                                    ANeuralNetworksCompilation **compilation);
/* Not before every execution of the compilation is freed. */
ANEURALNETWORKS_API void ANeuralNetworksCompilation_free(ANeuralNetworksCompilation *compilation);
/* One of ANEURALNETWORKS_PREFER_*. */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_setPreference(ANeuralNetworksCompilation *compilation, int32_t preference);
/* Keeps the prepared form in files of an existing directory, found again by a token of 32 bytes. [3] */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_setCaching(ANeuralNetworksCompilation *compilation, const char *cacheDir,
                                                              const uint8_t *token);
/* One of ANEURALNETWORKS_PRIORITY_*. [4] */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_setPriority(ANeuralNetworksCompilation *compilation, int priority);
/* Time that finish may take; 0 = no limit. Only for a compilation for exactly one device. [4] */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_setTimeout(ANeuralNetworksCompilation *compilation, uint64_t duration);
/* Prepares the model for the devices; nothing can be set afterwards. */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_finish(ANeuralNetworksCompilation *compilation);
/* Alignment (of the address) and padding (of the length) that the device likes best, in bytes, powers of two. [5] */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_getPreferredMemoryAlignmentForInput(const ANeuralNetworksCompilation *compilation,
                                                                                       uint32_t index, uint32_t *alignment);
ANEURALNETWORKS_API int ANeuralNetworksCompilation_getPreferredMemoryPaddingForInput(const ANeuralNetworksCompilation *compilation,
                                                                                     uint32_t index, uint32_t *padding);
ANEURALNETWORKS_API int ANeuralNetworksCompilation_getPreferredMemoryAlignmentForOutput(const ANeuralNetworksCompilation *compilation,
                                                                                        uint32_t index, uint32_t *alignment);
ANEURALNETWORKS_API int ANeuralNetworksCompilation_getPreferredMemoryPaddingForOutput(const ANeuralNetworksCompilation *compilation,
                                                                                      uint32_t index, uint32_t *padding);

/* --- execution -------------------------------------------------------------------------------------------------------------- */

/* An execution of a finished compilation. */
ANEURALNETWORKS_API int ANeuralNetworksExecution_create(ANeuralNetworksCompilation *compilation, ANeuralNetworksExecution **execution);
/* Ignored while the execution runs. */
ANEURALNETWORKS_API void ANeuralNetworksExecution_free(ANeuralNetworksExecution *execution);
/* Gives an input, by position. `type` fills in unknown dimensions, NULL where all are known; NULL and length 0 omit an optional input. */
ANEURALNETWORKS_API int ANeuralNetworksExecution_setInput(ANeuralNetworksExecution *execution, int32_t index,
                                                          const ANeuralNetworksOperandType *type, const void *buffer, size_t length);
/* Gives an input from a memory; offset and length 0 mean the whole of a memory made by createFromDesc. */
ANEURALNETWORKS_API int ANeuralNetworksExecution_setInputFromMemory(ANeuralNetworksExecution *execution, int32_t index,
                                                                    const ANeuralNetworksOperandType *type,
                                                                    const ANeuralNetworksMemory *memory, size_t offset, size_t length);
/* Gives an output's buffer, by position; NULL and length 0 when the output is not wanted. */
ANEURALNETWORKS_API int ANeuralNetworksExecution_setOutput(ANeuralNetworksExecution *execution, int32_t index,
                                                           const ANeuralNetworksOperandType *type, void *buffer, size_t length);
ANEURALNETWORKS_API int ANeuralNetworksExecution_setOutputFromMemory(ANeuralNetworksExecution *execution, int32_t index,
                                                                     const ANeuralNetworksOperandType *type,
                                                                     const ANeuralNetworksMemory *memory, size_t offset, size_t length);
/* Runs, and returns when the outputs are there. [3] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_compute(ANeuralNetworksExecution *execution);
/* Starts to run and returns; the event is signalled at the end. */
ANEURALNETWORKS_API int ANeuralNetworksExecution_startCompute(ANeuralNetworksExecution *execution, ANeuralNetworksEvent **event);
/* Runs once the dependencies are signalled; `duration` limits the time from then on, 0 = no limit. [4] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_startComputeWithDependencies(ANeuralNetworksExecution *execution,
                                                                              const ANeuralNetworksEvent *const *dependencies,
                                                                              uint32_t num_dependencies, uint64_t duration,
                                                                              ANeuralNetworksEvent **event);
/* Runs as part of a burst. [3] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_burstCompute(ANeuralNetworksExecution *execution, ANeuralNetworksBurst *burst);
/* Rank and dimensions of an output after the execution, also after OUTPUT_INSUFFICIENT_SIZE. [3] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_getOutputOperandRank(ANeuralNetworksExecution *execution, int32_t index, uint32_t *rank);
ANEURALNETWORKS_API int ANeuralNetworksExecution_getOutputOperandDimensions(ANeuralNetworksExecution *execution, int32_t index,
                                                                            uint32_t *dimensions);
/* Asks for getDuration. Only for a compilation for exactly one device. [3] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_setMeasureTiming(ANeuralNetworksExecution *execution, bool measure);
/* The time of the last run; UINT64_MAX where the device does not tell. [3] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_getDuration(const ANeuralNetworksExecution *execution, int32_t durationCode,
                                                             uint64_t *duration);
/* Time that a run may take; 0 = no limit. Only for a compilation for exactly one device. [4] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_setTimeout(ANeuralNetworksExecution *execution, uint64_t duration);
/* Time that each WHILE of a run may take. [4] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_setLoopTimeout(ANeuralNetworksExecution *execution, uint64_t duration);
/* Lets buffers be longer than their operands. Before any input or output is given. [5] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_enableInputAndOutputPadding(ANeuralNetworksExecution *execution, bool enable);
/* Lets the execution run again and again, one run at a time. [5] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_setReusable(ANeuralNetworksExecution *execution, bool reusable);

ANEURALNETWORKS_API int ANeuralNetworksBurst_create(ANeuralNetworksCompilation *compilation, ANeuralNetworksBurst **burst); /* [3] */
ANEURALNETWORKS_API void ANeuralNetworksBurst_free(ANeuralNetworksBurst *burst);                                            /* [3] */

/* Waits for the end of the execution and returns its result. */
ANEURALNETWORKS_API int ANeuralNetworksEvent_wait(ANeuralNetworksEvent *event);
/* Waits first where the execution still runs. */
ANEURALNETWORKS_API void ANeuralNetworksEvent_free(ANeuralNetworksEvent *event);
/* An event from a sync fence, and the fence of such an event; the caller closes descriptors it gave or got. [4] */
ANEURALNETWORKS_API int ANeuralNetworksEvent_createFromSyncFenceFd(int sync_fence_fd, ANeuralNetworksEvent **event);
ANEURALNETWORKS_API int ANeuralNetworksEvent_getSyncFenceFd(const ANeuralNetworksEvent *event, int *sync_fence_fd);

/* --- vendor extensions (exported by the system's library; not part of the NDK) --------------------------------------------- */

ANEURALNETWORKS_API int ANeuralNetworksDevice_getExtensionSupport(const ANeuralNetworksDevice *device, const char *extensionName,
                                                                  bool *isExtensionSupported); /* [3] */
ANEURALNETWORKS_API int ANeuralNetworksModel_getExtensionOperandType(ANeuralNetworksModel *model, const char *extensionName,
                                                                     uint16_t operandCodeWithinExtension, int32_t *type); /* [3] */
ANEURALNETWORKS_API int ANeuralNetworksModel_getExtensionOperationType(ANeuralNetworksModel *model, const char *extensionName,
                                                                       uint16_t operationCodeWithinExtension,
                                                                       ANeuralNetworksOperationType *type); /* [3] */
ANEURALNETWORKS_API int ANeuralNetworksModel_setOperandExtensionData(ANeuralNetworksModel *model, int32_t index, const void *data,
                                                                     size_t length); /* [3] */
ANEURALNETWORKS_API int ANeuralNetworksCompilation_addExtensionAttribute(ANeuralNetworksCompilation *compilation,
                                                                         const char *extensionName,
                                                                         uint16_t attributeCodeWithinExtension, const void *data,
                                                                         size_t length); /* [7] */
ANEURALNETWORKS_API int ANeuralNetworksExecution_addExtensionAttribute(ANeuralNetworksExecution *execution, const char *extensionName,
                                                                       uint16_t attributeCodeWithinExtension, const void *data,
                                                                       size_t length); /* [7] */

#ifdef __cplusplus
}
#endif

#endif
