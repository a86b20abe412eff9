/* A fake libnvidia-ml.so.1: it answers what a text file says, read anew at each call (see state.h). */
#include "state.h"

#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, VERSION_MISMATCH = 25
};

static int initialised_at = -1; /* the number of the last reload when NVML was initialised; -1: it is not */
static int raced;               /* buffers found too small so far */

/* ---------------------------------------------------------------- what every call does first */

/* A handle stands for the UUID, not for the place in the list: a GPU keeps it when another one disappears. */
static void *handle_of(const struct gpu *gpu)
{
    uintptr_t hash = 14695981039346656037u;
    for (const char *c = gpu->uuid; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    return (void *)(hash | 1);
}

static struct gpu *find(const void *handle)
{
    for (int i = 1; i <= state.gpus; i++)
        if (handle_of(&state.gpu[i]) == handle)
            return &state.gpu[i];
    return NULL;
}

static struct rule *rule_for(struct gpu *gpu, char kind, const char *function)
{
    for (int i = 0; i < gpu->rules; i++)
        if (gpu->rule[i].kind == kind && (!strcmp(gpu->rule[i].function, function) || gpu->rule[i].function[0] == '*'))
            return &gpu->rule[i];
    return NULL;
}

static void note(const char *function, const struct gpu *gpu, u64 last_seen)
{
    char line[256];
    int length = snprintf(line, sizeof line, "%s %s %llu\n", function, gpu->uuid[0] ? gpu->uuid : "-", last_seen);
    int log = state.log[0] ? open(state.log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (log >= 0) {
        if (write(log, line, length) < 0)
            perror("fake nvml");
        close(log);
    }
}

/* Log, hang and fail as the state file says; 0 means: go on and answer. */
static int obey(const char *function, struct gpu *gpu, u64 last_seen)
{
    struct rule *rule;
    note(function, gpu, last_seen);
    if ((rule = rule_for(gpu, 'h', function)))
        while (!access(rule->path, F_OK))
            usleep(1000);
    rule = rule_for(gpu, 'e', function);
    return rule ? rule->number : SUCCESS;
}

static int ready(void)
{
    load_state();
    if (initialised_at < 0)
        return UNINITIALIZED;
    return initialised_at == state.reload ? SUCCESS : state.reload_code;
}

static int enter_driver(const char *function)
{
    int code = ready();
    return code ? code : obey(function, &state.gpu[0], 0);
}

static int enter(const char *function, const void *handle, struct gpu **gpu, u64 last_seen)
{
    int code = ready();
    if (code)
        return code;
    if (!(*gpu = find(handle)))
        return GPU_IS_LOST;
    return obey(function, *gpu, last_seen);
}

#define ENTER_DRIVER() { int code = enter_driver(__func__); if (code) return code; }
#define ENTER(handle, last_seen) \
    struct gpu *gpu; { int code = enter(__func__, handle, &gpu, last_seen); if (code) return code; }

/* ---------------------------------------------------------------- the driver */

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    load_state();
    if (!state.loaded)
        return DRIVER_NOT_LOADED;
    int code = obey(__func__, &state.gpu[0], 0);
    if (!code)
        initialised_at = state.reload;
    return code;
}

int nvmlShutdown(void)
{
    load_state();
    note(__func__, &state.gpu[0], 0);
    initialised_at = -1;
    return SUCCESS;
}

const char *nvmlErrorString(int code) { (void)code; return "a code of the fake driver"; }

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    ENTER_DRIVER()
    snprintf(version, length, "%s", state.driver);
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) { ENTER_DRIVER() *count = state.gpus; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
    ENTER_DRIVER()
    if (index >= (unsigned)state.gpus)
        return INVALID_ARGUMENT;
    *handle = handle_of(&state.gpu[index + 1]);
    return obey(__func__, &state.gpu[index + 1], 0);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle)
{
    ENTER_DRIVER()
    for (int i = 1; i <= state.gpus; i++)
        if (!strcmp(state.gpu[i].uuid, uuid)) {
            *handle = handle_of(&state.gpu[i]);
            return obey(__func__, &state.gpu[i], 0);
        }
    return NOT_FOUND;
}

/* ---------------------------------------------------------------- one GPU */

#define TEXT(function, field) int function(void *handle, char *text, unsigned length) \
    { ENTER(handle, 0) snprintf(text, length, "%s", gpu->field); return SUCCESS; }
TEXT(nvmlDeviceGetUUID, uuid)
TEXT(nvmlDeviceGetName, name)

struct memory { u64 total, free, used; };
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory)
{
    ENTER(handle, 0)
    if (!gpu->has_memory)
        return NOT_SUPPORTED;
    *memory = (struct memory){gpu->total, gpu->total - gpu->reserved - gpu->used, gpu->reserved + gpu->used};
    return SUCCESS;
}

struct memory_v2 { unsigned version; u64 total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *memory)
{
    ENTER(handle, 0)
    if (memory->version != 0x02000028)
        return VERSION_MISMATCH;
    if (!gpu->has_memory)
        return NOT_SUPPORTED;
    memory->total = gpu->total, memory->reserved = gpu->reserved, memory->used = gpu->used;
    memory->free = gpu->total - gpu->reserved - gpu->used;
    return SUCCESS;
}

/* A buffer for `room` of `needed` entries; `size_only`: the caller only asks how many there are. */
static int too_small(const char *function, struct gpu *gpu, unsigned room, unsigned needed, int size_only)
{
    struct rule *race = rule_for(gpu, 'r', function);
    if (!size_only && race && raced < race->number)
        return ++raced;
    return size_only || room < needed;
}

struct process_info { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; };
static int list(const char *function, struct gpu *gpu, char letter, unsigned *count, struct process_info *infos)
{
    unsigned needed = 0, room = *count;
    for (int i = 0; i < gpu->processes; i++)
        needed += strchr(gpu->process[i].lists, letter) != NULL;
    *count = needed;
    if (needed && too_small(function, gpu, room, needed, !infos))
        return INSUFFICIENT_SIZE;
    for (int i = 0, n = 0; i < gpu->processes; i++)
        if (strchr(gpu->process[i].lists, letter))
            infos[n++] = (struct process_info){gpu->process[i].pid, gpu->process[i].used, ~0u, ~0u};
    return SUCCESS;
}
#define LIST(function, letter) int function(void *handle, unsigned *count, struct process_info *infos) \
    { ENTER(handle, 0) return list(__func__, gpu, letter, count, infos); }
LIST(nvmlDeviceGetComputeRunningProcesses_v3, 'c')
LIST(nvmlDeviceGetComputeRunningProcesses_v2, 'c')
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, 'g')
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, 'g')
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, 'm')
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, 'm')

/* Keep the samples that are newer than `last_seen`; the real driver takes one about every 200 ms. */
static unsigned keep_newer(struct gpu *gpu, u64 last_seen)
{
    struct timespec now;
    unsigned kept = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < gpu->samples; i++) {
        struct sample sample = gpu->sample[i];
        if (!sample.stamp)
            sample.stamp = (now.tv_sec * 1000000ULL + now.tv_nsec / 1000) / 200000 * 200000;
        if (sample.stamp > last_seen)
            gpu->sample[kept++] = sample;
    }
    return kept;
}

struct utilization { u64 stamp; unsigned pid, sm, mem, enc, dec, jpg, ofa; };
struct utilizations { unsigned version, count; u64 last_seen; struct utilization *array; };
int nvmlDeviceGetProcessesUtilizationInfo(void *handle, struct utilizations *asked)
{
    ENTER(handle, asked->last_seen)
    if (asked->version != 0x01000018)
        return VERSION_MISMATCH;
    unsigned needed = keep_newer(gpu, asked->last_seen), room = asked->count;
    asked->count = needed;
    if (!needed)
        return NOT_FOUND;
    if (too_small(__func__, gpu, room, needed, !asked->array))
        return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < needed; i++)
        asked->array[i] = (struct utilization){
            .stamp = gpu->sample[i].stamp, .pid = gpu->sample[i].pid, .sm = gpu->sample[i].sm};
    return SUCCESS;
}

struct utilization_v1 { unsigned pid; u64 stamp; unsigned sm, mem, enc, dec; };
int nvmlDeviceGetProcessUtilization(void *handle, struct utilization_v1 *array, unsigned *count, u64 last_seen)
{
    ENTER(handle, last_seen)
    unsigned needed = keep_newer(gpu, last_seen), room = *count;
    *count = needed;
    if (!needed)
        return NOT_FOUND;
    if (too_small(__func__, gpu, room, needed, !array))
        return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < needed; i++)
        array[i] = (struct utilization_v1){
            .pid = gpu->sample[i].pid, .stamp = gpu->sample[i].stamp, .sm = gpu->sample[i].sm};
    return SUCCESS;
}

/* The GPU's own samples: as ordered, or one every 200 ms of the last seconds at the GPU's utilisation. */
struct device_sample { u64 stamp, value; };
int nvmlDeviceGetSamples(void *handle, int kind, u64 last_seen, int *type, unsigned *count, struct device_sample *array)
{
    ENTER(handle, last_seen)
    if (!gpu->whole && !gpu->live)
        return NOT_SUPPORTED;
    (void)kind, *type = 1;
    if (!array) {
        *count = SAMPLES;
        return SUCCESS;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    u64 newest = (now.tv_sec * 1000000ULL + now.tv_nsec / 1000) / 200000 * 200000;
    *count = 0;
    for (int i = gpu->live ? 99 : 0; gpu->live ? i >= 0 : i < gpu->whole; i += gpu->live ? -1 : 1) {
        struct sample sample = gpu->live ? (struct sample){0, newest - i * 200000ULL, gpu->utilization} : gpu->whole_sample[i];
        if (sample.stamp > last_seen)
            array[(*count)++] = (struct device_sample){sample.stamp, sample.sm};
    }
    return *count ? SUCCESS : NOT_FOUND;
}

struct rates { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(void *handle, struct rates *rates)
{
    ENTER(handle, 0)
    rates->gpu = gpu->utilization, rates->memory = 0;
    return gpu->utilization < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(void *handle, u64 *energy)
{
    ENTER(handle, 0)
    *energy = gpu->energy;
    return gpu->has_energy ? SUCCESS : NOT_SUPPORTED;
}

#define FIGURE(function, field) int function(void *handle, unsigned *figure) \
    { ENTER(handle, 0) *figure = gpu->field; return gpu->field < 0 ? NOT_SUPPORTED : SUCCESS; }
FIGURE(nvmlDeviceGetPowerUsage, power)

struct temperature { unsigned version, sensor; int celsius; };
int nvmlDeviceGetTemperatureV(void *handle, struct temperature *temperature)
{
    ENTER(handle, 0)
    temperature->celsius = gpu->temperature;
    return gpu->temperature < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *celsius)
{
    ENTER(handle, 0)
    *celsius = gpu->temperature + 0 * sensor;
    return gpu->temperature < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending)
{
    ENTER(handle, 0)
    *current = *pending = gpu->mig;
    return gpu->mig < 0 ? NOT_SUPPORTED : SUCCESS;
}
