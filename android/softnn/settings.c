/* Settings: from the environment, or from softnn_configure. Injected faults. */
#include "engine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the environment may say, in the order of `Raw`. */
static const char *const variables[] = {
    "SOFTNN_FEATURE_LEVEL", "SOFTNN_DEVICE_FEATURE_LEVEL", "SOFTNN_DEVICE_NAME", "SOFTNN_DEVICE_VERSION", "SOFTNN_DEVICE_TYPE",
    "SOFTNN_REFUSE",        "SOFTNN_REFUSE_EVERY",         "SOFTNN_FAULTS",      "SOFTNN_THREADS",        "SOFTNN_VLOG",
    "SOFTNN_CORES",
    "SOFTNN_CLIENT", /* says nothing but that it is another one: the counts of calls begin anew */
};
enum { LEVEL, DEVICE_LEVEL, NAME, VERSION, TYPE, REFUSE, REFUSE_EVERY, FAULTS, THREADS, VLOG, CORES, CLIENT, VARIABLES };

#define MAX_THREADS 64
#define SETS 2 /* see softnn_select */
#define MAX_FAULTS 64

static SnnSettings defaults = {.level = SNN_LEVELS,
                               .device_level = SNN_LEVELS,
                               .device_type = ANEURALNETWORKS_DEVICE_ACCELERATOR,
                               .device_name = (char *)"softnn",
                               .device_version = (char *)"1",
                               .accelerator = true,
                               .threads = 1};
typedef struct {
  _Atomic(SnnSettings *) current;
  bool configured;       /* by the program: the environment does not count */
  char *seen[VARIABLES]; /* values that `current` was made from */
  atomic_uint calls[SNN_CALLS];
} Set;
static Set sets[SETS];
static _Atomic(Set *) selected = &sets[0];
static SnnLock change; /* guards the sets; `current` and `calls` may be read without it */

static Set *selection(void) { return atomic_load_explicit(&selected, memory_order_relaxed); }

void softnn_select(uint32_t set) { atomic_store_explicit(&selected, &sets[set % SETS], memory_order_relaxed); }

static const struct {
  const char *name;
  int level;
} entry_points[] = {
#define SNN_ENTRY(name, level) {#name, level},
    SNN_ENTRY_POINTS(SNN_ENTRY)
#undef SNN_ENTRY
};

int64_t snn_level_constant(int32_t level) { return level <= 5 ? 26 + level : 1000000 + level; }

/* --- reading text ------------------------------------------------------------------------------------------------------------- */

static bool read_number(const char *text, size_t length, int32_t least, int32_t most, int32_t *value) {
  int64_t number = 0;
  if (length == 0 || length > 9) return false;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    number = number * 10 + (text[i] - '0');
  }
  if (number < least || number > most) return false;
  *value = (int32_t)number;
  return true;
}

static bool equals(const char *text, size_t length, const char *word) {
  return strlen(word) == length && memcmp(text, word, length) == 0;
}

static bool read_device_type(const char *text, int32_t *type) {
  static const char *const names[] = {"unknown", "other", "cpu", "gpu", "accelerator"};
  for (int32_t i = 0; i < 5; i++) {
    if (strcmp(text, names[i]) == 0) return *type = i, true;
  }
  return read_number(text, strlen(text), 0, 4, type);
}

/* Splits at any of `marks`; false at the end. */
static bool next_part(const char **text, const char *marks, const char **part, size_t *length) {
  while (**text != '\0') {
    *part = *text;
    *length = strcspn(*text, marks);
    *text += *length + ((*text)[*length] != '\0');
    if (*length > 0) return true;
  }
  return false;
}

static bool read_refused(SnnSettings *settings, const char *text) {
  const char *part;
  size_t length;
  while (next_part(&text, "+, ", &part, &length)) {
    int32_t code = 0;
    for (; code < SNN_OPERATION_CODES; code++) {
      const SnnOperation *operation = snn_find_operation(code);
      if (operation != NULL && equals(part, length, operation->name)) break;
    }
    if (code == SNN_OPERATION_CODES) return snn_complain("refused operation %.*s is not known", (int)length, part), false;
    settings->refused[code] = true;
  }
  return true;
}

static bool read_cores(SnnSettings *settings, const char *text) {
  const char *part;
  size_t length;
  while (next_part(&text, "+, ", &part, &length)) {
    int32_t core;
    if (!read_number(part, length, 0, 31, &core)) return snn_complain("core %.*s is not a number from 0 to 31", (int)length, part), false;
    settings->cores |= UINT32_C(1) << core;
  }
  return true;
}

static bool read_action(SnnFault *fault, const char *text, size_t length) {
  static const char sleep[] = "sleep=", sleep_ms[] = "sleep_ms=";
  if (equals(text, length, "kill")) return fault->action = SNN_FAULT_KILL, true;
  fault->action = SNN_FAULT_SLEEP;
  if (length > sizeof(sleep) - 1 && memcmp(text, sleep, sizeof(sleep) - 1) == 0) {
    return read_number(text + sizeof(sleep) - 1, length - (sizeof(sleep) - 1), 0, 999999999, &fault->value);
  }
  if (length > sizeof(sleep_ms) - 1 && memcmp(text, sleep_ms, sizeof(sleep_ms) - 1) == 0) {
    return read_number(text + sizeof(sleep_ms) - 1, length - (sizeof(sleep_ms) - 1), 0, 999999999, &fault->value);
  }
  fault->action = SNN_FAULT_CODE;
  return read_number(text, length, 0, 999, &fault->value);
}

/* CALL:ACTION[:NTH] */
static bool read_fault(SnnFault *fault, const char *text, size_t length) {
  char copy[128];
  const char *rest = copy, *part;
  size_t size;
  static const char prefix[] = "ANeuralNetworks";
  if (length >= sizeof(copy)) return false;
  memcpy(copy, text, length);
  copy[length] = '\0';
  memset(fault, 0, sizeof(*fault));
  if (!next_part(&rest, ":", &part, &size)) return false;
  if (size > sizeof(prefix) - 1 && memcmp(part, prefix, sizeof(prefix) - 1) == 0) {
    part += sizeof(prefix) - 1;
    size -= sizeof(prefix) - 1;
    if (size > 1 && part[0] == '_') part++, size--;
  }
  uint32_t call = 0;
  while (call < SNN_CALLS && !equals(part, size, entry_points[call].name)) call++;
  if (call == SNN_CALLS) return false;
  fault->call = (SnnCall)call;
  if (!next_part(&rest, ":", &part, &size) || !read_action(fault, part, size)) return false;
  int32_t nth = 0;
  if (*rest != '\0' && !read_number(rest, strlen(rest), 1, 999999999, &nth)) return false;
  fault->nth = (uint32_t)nth;
  return true;
}

static bool read_faults(SnnSettings *settings, const char *text) {
  const char *part;
  size_t length;
  settings->faults = snn_allocate(MAX_FAULTS, sizeof(SnnFault));
  if (settings->faults == NULL) return false;
  while (next_part(&text, ",;+ ", &part, &length)) {
    bool fits = settings->fault_count < MAX_FAULTS;
    if (!fits || !read_fault(&settings->faults[settings->fault_count], part, length)) {
      return snn_complain("fault %.*s is not CALL:CODE, CALL:sleep=MS or CALL:kill, with :NTH at most", (int)length, part), false;
    }
    settings->fault_count++;
  }
  return true;
}

/* --- making a snapshot ------------------------------------------------------------------------------------------------------- */

static void free_settings(SnnSettings *settings) {
  if (settings == NULL) return;
  free(settings->device_name);
  free(settings->device_version);
  free(settings->faults);
  free(settings);
}

static bool set_text(char **field, const char *text, const char *otherwise) {
  *field = strdup(text != NULL && text[0] != '\0' ? text : otherwise);
  return *field != NULL;
}

static SnnSettings *new_settings(const char *name, const char *version) {
  SnnSettings *settings = snn_allocate(1, sizeof(*settings));
  if (settings == NULL) return NULL;
  *settings = defaults;
  settings->accelerator = name == NULL || strcmp(name, "none") != 0;
  settings->device_name = settings->device_version = NULL;
  bool ok = set_text(&settings->device_name, name, defaults.device_name);
  ok &= set_text(&settings->device_version, version, defaults.device_version);
  if (ok) return settings;
  free_settings(settings);
  return NULL;
}

static void read_variable(const char *const *raw, int variable, int32_t least, int32_t most, int32_t *value) {
  const char *text = raw[variable];
  if (text == NULL || text[0] == '\0') return;
  if (!read_number(text, strlen(text), least, most, value)) {
    snn_complain("%s=%s is not a number from %d to %d", variables[variable], text, (int)least, (int)most);
  }
}

/* What makes no sense is complained about and left at its default. */
static SnnSettings *from_environment(const char *const *raw) {
  SnnSettings *settings = new_settings(raw[NAME], raw[VERSION]);
  if (settings == NULL) return NULL;
  int32_t every = 0, threads = 1, verbose = 0;
  read_variable(raw, LEVEL, 1, SNN_LEVELS, &settings->level);
  settings->device_level = settings->level;
  read_variable(raw, DEVICE_LEVEL, 1, SNN_LEVELS, &settings->device_level);
  read_variable(raw, REFUSE_EVERY, 1, 999999999, &every);
  read_variable(raw, THREADS, 1, MAX_THREADS, &threads);
  read_variable(raw, VLOG, 0, 9, &verbose);
  settings->refuse_every = (uint32_t)every;
  settings->threads = (uint32_t)threads;
  settings->verbose = verbose != 0;
  if (raw[TYPE] != NULL && raw[TYPE][0] != '\0' && !read_device_type(raw[TYPE], &settings->device_type)) {
    snn_complain("SOFTNN_DEVICE_TYPE=%s is not accelerator, gpu, cpu, other or unknown", raw[TYPE]);
  }
  if (raw[CORES] != NULL && !read_cores(settings, raw[CORES])) settings->cores = 0;
  if (raw[REFUSE] != NULL) read_refused(settings, raw[REFUSE]);
  if (raw[FAULTS] != NULL) read_faults(settings, raw[FAULTS]);
  return settings;
}

/* Under the lock. The counts of calls begin anew with each change. */
static void publish(SnnSettings *settings) {
  Set *set = selection();
  settings->older = atomic_load_explicit(&set->current, memory_order_relaxed);
  for (uint32_t i = 0; i < SNN_CALLS; i++) atomic_store_explicit(&set->calls[i], 0, memory_order_relaxed);
  atomic_store_explicit(&set->current, settings, memory_order_release);
}

static void read_environment(void) {
  const char *raw[VARIABLES];
  char **seen = selection()->seen;
  bool changed = atomic_load_explicit(&selection()->current, memory_order_relaxed) == NULL;
  for (int i = 0; i < VARIABLES; i++) {
    raw[i] = getenv(variables[i]);
    changed |= (raw[i] == NULL) != (seen[i] == NULL) || (raw[i] != NULL && strcmp(raw[i], seen[i]) != 0);
  }
  if (!changed) return;
  SnnSettings *settings = from_environment(raw);
  if (settings == NULL) return; /* out of memory: as before */
  for (int i = 0; i < VARIABLES; i++) {
    free(seen[i]);
    seen[i] = raw[i] != NULL ? strdup(raw[i]) : NULL;
  }
  publish(settings);
}

void snn_settings_refresh(void) {
  snn_lock(&change);
  if (!selection()->configured) read_environment();
  snn_unlock(&change);
}

const SnnSettings *snn_settings(void) {
  const SnnSettings *settings = atomic_load_explicit(&selection()->current, memory_order_acquire);
  return settings != NULL ? settings : &defaults;
}

static SnnSettings *from_struct(const SoftnnSettings *given) {
  bool sane = given->size == sizeof(*given) && given->feature_level >= 0 && given->feature_level <= SNN_LEVELS &&
              given->device_feature_level >= 0 && given->device_feature_level <= SNN_LEVELS && given->device_type >= -1 &&
              given->device_type <= ANEURALNETWORKS_DEVICE_ACCELERATOR && given->threads <= MAX_THREADS;
  if (!sane) return snn_complain("softnn_configure: a value is out of range"), NULL;
  SnnSettings *settings = new_settings(given->device_name, given->device_version);
  if (settings == NULL) return NULL;
  if (given->feature_level != 0) settings->level = given->feature_level;
  settings->device_level = given->device_feature_level != 0 ? given->device_feature_level : settings->level;
  if (given->device_type != 0) settings->device_type = given->device_type < 0 ? ANEURALNETWORKS_DEVICE_UNKNOWN : given->device_type;
  settings->refuse_every = given->refuse_every;
  settings->threads = given->threads != 0 ? given->threads : 1;
  settings->cores = given->cores;
  settings->verbose = given->verbose != 0;
  bool ok = given->refuse == NULL || read_refused(settings, given->refuse);
  ok = ok && (given->faults == NULL || read_faults(settings, given->faults));
  if (ok) return settings;
  free_settings(settings);
  return NULL;
}

int softnn_configure(const SoftnnSettings *given) {
  SnnSettings *settings = NULL;
  if (given != NULL) {
    settings = from_struct(given);
    if (settings == NULL) return ANEURALNETWORKS_BAD_DATA;
  }
  snn_lock(&change);
  selection()->configured = given != NULL;
  if (given != NULL) {
    publish(settings);
  } else {
    for (int i = 0; i < VARIABLES; i++) {
      free(selection()->seen[i]);
      selection()->seen[i] = NULL;
    }
    settings = from_environment((const char *[VARIABLES]){NULL});
    if (settings != NULL) publish(settings);
    read_environment();
  }
  snn_unlock(&change);
  return ANEURALNETWORKS_NO_ERROR;
}

/* --- at each call -------------------------------------------------------------------------------------------------------------- */

static int inject(const SnnSettings *settings, SnnCall call) {
  uint32_t nth = atomic_fetch_add_explicit(&selection()->calls[call], 1, memory_order_relaxed) + 1;
  for (uint32_t i = 0; i < settings->fault_count; i++) {
    const SnnFault *fault = &settings->faults[i];
    if (fault->call != call || (fault->nth != 0 && fault->nth != nth)) continue;
    snn_log("injected fault at call %u of %s", nth, entry_points[call].name);
    if (fault->action == SNN_FAULT_CODE) return fault->value;
    if (fault->action == SNN_FAULT_KILL) kill(getpid(), SIGKILL);
    snn_sleep_ns((uint64_t)fault->value * 1000000u);
  }
  return 0;
}

int snn_enter(SnnCall call) {
  if (atomic_load_explicit(&selection()->current, memory_order_acquire) == NULL || call == SNN_CALL_getDeviceCount ||
      call == SNN_CALL_Model_create || call == SNN_CALL_getRuntimeFeatureLevel) {
    snn_settings_refresh();
  }
  const SnnSettings *settings = snn_settings();
  if (settings->level < entry_points[call].level) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "%s came with feature level %d, the run time has %d", entry_points[call].name,
                      entry_points[call].level, (int)settings->level);
  }
  return settings->fault_count > 0 ? inject(settings, call) : 0;
}
