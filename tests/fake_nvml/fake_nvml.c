/* A fake libnvidia-ml.so.1: it answers what a text file says, read anew at each call (see state.h). */
#include "state.h"

#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, VERSION_MISMATCH = 25
};
enum { MAX_MIG_DEVICES = 7 };

static int initialised_at = -1; /* the number of the last reload when NVML was initialised; -1: it is not */
static int raced;               /* buffers found too small so far */

/* ---------------------------------------------------------------- what every call does first */

/* A handle stands for the UUID, not for the place in the list: a GPU keeps it when another one disappears. */
static void *handle_of_uuid(const char *uuid)
{
    uintptr_t hash = 14695981039346656037u;
    for (const char *c = uuid; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    return (void *)(hash | 1);
}

static void *handle_of(const struct gpu *gpu) { return handle_of_uuid(gpu->uuid); }

static struct gpu *find(const void *handle)
{
    for (int i = 1; i <= state.gpus; i++)
        if (handle_of(&state.gpu[i]) == handle)
            return &state.gpu[i];
    for (int i = 0; i < state.instances; i++)
        if (handle_of(&state.instance[i]) == handle)
            return &state.instance[i];
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
static unsigned add_listed(const struct gpu *gpu, char letter, struct process_info *infos, unsigned n)
{
    for (int i = 0; i < gpu->processes; i++) {
        const struct process *process = &gpu->process[i];
        if (strchr(process->lists, letter))
            infos[n++] = (struct process_info){process->pid, process->used, process->gi, process->ci};
    }
    return n;
}

/* A whole GPU lists the processes of its instances, too. */
static int list(const char *function, struct gpu *gpu, char letter, unsigned *count, struct process_info *infos)
{
    static __thread struct process_info found[PROCESSES * (1 + INSTANCES)];
    unsigned room = *count;
    *count = add_listed(gpu, letter, found, 0);
    for (int i = 0; i < state.instances; i++)
        if (&state.gpu[state.instance[i].parent] == gpu)
            *count = add_listed(&state.instance[i], letter, found, *count);
    if (*count && too_small(function, gpu, room, *count, !infos))
        return INSUFFICIENT_SIZE;
    if (*count)
        memcpy(infos, found, *count * sizeof *found);
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

/* ---------------------------------------------------------------- MIG instances */

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count)
{
    ENTER(handle, 0)
    *count = gpu->mig == 1 ? MAX_MIG_DEVICES : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance)
{
    ENTER(handle, 0)
    if (index >= MAX_MIG_DEVICES)
        return INVALID_ARGUMENT;
    for (int i = 0; i < state.instances; i++)
        if (&state.gpu[state.instance[i].parent] == gpu && state.instance[i].index == index) {
            *instance = handle_of(&state.instance[i]);
            return obey(__func__, &state.instance[i], 0);
        }
    return NOT_FOUND;
}

#define INSTANCE_ID(function, field) int function(void *handle, unsigned *id) \
    { ENTER(handle, 0) *id = gpu->field; return gpu->parent ? SUCCESS : NOT_SUPPORTED; }
INSTANCE_ID(nvmlDeviceGetGpuInstanceId, gi)
INSTANCE_ID(nvmlDeviceGetComputeInstanceId, ci)

/* ---------------------------------------------------------------- events */

struct event_set { long seen; int registered; void *handle[GPUS]; }; /* `seen`: so far it has read the events' file */
struct event { void *device; u64 type, data; unsigned gpu_instance, compute_instance; };

int nvmlDeviceGetSupportedEventTypes(void *handle, u64 *types)
{
    ENTER(handle, 0)
    *types = gpu->events;
    return gpu->events < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlEventSetCreate(struct event_set **set)
{
    ENTER_DRIVER()
    FILE *file = fopen(state.xids, "re");
    *set = calloc(1, sizeof **set);
    if (file) {
        fseek(file, 0, SEEK_END);
        (*set)->seen = ftell(file);
        fclose(file);
    }
    return SUCCESS;
}

int nvmlEventSetFree(struct event_set *set)
{
    load_state();
    note(__func__, &state.gpu[0], 0);
    free(set);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(void *handle, u64 types, struct event_set *set)
{
    ENTER(handle, types)
    if (gpu->events < 0 || (types & ~(u64)gpu->events))
        return NOT_SUPPORTED;
    set->handle[set->registered++ % GPUS] = handle;
    return SUCCESS;
}

static int concerns(const struct event_set *set, const void *handle)
{
    for (int i = 0; i < set->registered; i++)
        if (set->handle[i] == handle)
            return 1;
    return 0;
}

/* Read on to the next event of a GPU that is registered (SUCCESS), an interruption (TIMEOUT) or the end (NOT_FOUND). */
static int next_event(struct event_set *set, struct event *event)
{
    char line[128], uuid[96];
    int code = NOT_FOUND;
    FILE *file = fopen(state.xids, "re");
    if (!file)
        return NOT_FOUND;
    fseek(file, set->seen, SEEK_SET);
    while (code == NOT_FOUND && fgets(line, sizeof line, file)) {
        u64 xid = 0;
        set->seen = ftell(file);
        if (sscanf(line, "%95s %llu", uuid, &xid) == 1)
            code = TIMEOUT;
        else if (concerns(set, handle_of_uuid(uuid)))
            *event = (struct event){handle_of_uuid(uuid), 8, xid, ~0u, ~0u}, code = SUCCESS;
    }
    fclose(file);
    return code;
}

static int wait_for_event(const char *function, struct event_set *set, struct event *event, unsigned milliseconds)
{
    int code = ready();
    if (!code)
        code = obey(function, &state.gpu[0], milliseconds);
    if (code)
        return code;
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        if ((code = next_event(set, event)) != NOT_FOUND)
            return code;
        usleep(1000);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 < milliseconds);
    return TIMEOUT;
}

int nvmlEventSetWait_v2(struct event_set *set, struct event *event, unsigned milliseconds)
{
    return wait_for_event(__func__, set, event, milliseconds);
}

int nvmlEventSetWait(struct event_set *set, struct event *event, unsigned milliseconds)
{
    return wait_for_event(__func__, set, event, milliseconds);
}
