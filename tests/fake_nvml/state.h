/* What the fake driver is told: a text file, one word and its values a line; what is not said is not supported.
 *
 * The file is "state" beside the library. Lines before the first "gpu" concern
 * the driver, those after it that GPU:
 *
 *   driver 580.159.04              the driver's version
 *   reload 2 1                     who initialised before reload no. 2 is answered code 1 (uninitialised) until it does
 *   log PATH                       append "function uuid [last_seen]" of each call
 *   xids PATH                      a file of events, "UUID CODE" each; "interrupt" has every wait end early
 *   error FUNCTION CODE            answer this code; FUNCTION may be * (every call on this GPU)
 *   hang FUNCTION PATH             do not answer while PATH exists; FUNCTION may be *
 *   race FUNCTION TIMES            the first TIMES calls that bring a buffer find it too small
 *   gpu UUID
 *   name TEXT                      memory TOTAL RESERVED USED       utilization PERCENT     mig 0|1
 *   power MILLIWATTS               energy MILLIJOULES               temperature CELSIUS
 *   events MASK                    the types of events that one may register for
 *   process PID USED LISTS [GI CI] USED in bytes or NA; LISTS: letters of c(ompute), g(raphics), m(ps); else on none
 *   whole STAMP SM                 one of the GPU's own samples; "whole live": one every 200 ms at its utilisation
 *   sample PID STAMP SM            STAMP in Unix microseconds, 0 = always just now
 *   instance UUID INDEX GI CI      a MIG instance of the last GPU; the lines after it concern that instance
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GPUS = 16, INSTANCES = 16, PROCESSES = 256, SAMPLES = 256, RULES = 16 };
typedef unsigned long long u64;

struct process { unsigned pid; u64 used; char lists[4]; unsigned gi, ci; };
struct sample { unsigned pid; u64 stamp; unsigned sm; };
struct rule { char kind, function[64], path[256]; int number; };
struct gpu {
    char uuid[96], name[96];
    u64 total, reserved, used, energy;
    long utilization, power, temperature, mig, events; /* -1: not supported */
    int has_memory, has_energy, processes, samples, rules, whole, live;
    int parent; /* of an instance: its GPU's place in `gpu`; else 0 */
    unsigned index, gi, ci;
    struct process process[PROCESSES];
    struct sample sample[SAMPLES], whole_sample[SAMPLES];
    struct rule rule[RULES];
};
struct state {
    char driver[80], log[256], xids[256];
    int loaded, reload, reload_code, gpus, instances;
    struct gpu gpu[GPUS + 1]; /* the first stands for the driver */
    struct gpu instance[INSTANCES];
};

static __thread struct state state; /* as read by the call under way */

static const char *beside_this_library(void)
{
    static char path[512];
    Dl_info info;
    if (!path[0] && dladdr((void *)beside_this_library, &info)) {
        const char *slash = strrchr(info.dli_fname, '/');
        snprintf(path, sizeof path, "%.*s/state", (int)(slash - info.dli_fname), info.dli_fname);
    }
    return path;
}

static void add_process(struct gpu *gpu, const char *values)
{
    struct process *process = &gpu->process[gpu->processes];
    char used[32];
    process->gi = gpu->gi, process->ci = gpu->ci;
    if (gpu->processes < PROCESSES && sscanf(values, "%u %31s %3s %u %u", &process->pid, used, process->lists,
                                             &process->gi, &process->ci) >= 3) {
        process->used = strcmp(used, "NA") ? strtoull(used, NULL, 10) : ~0ULL;
        gpu->processes++;
    }
}

static void add_sample(struct gpu *gpu, const char *values)
{
    struct sample *sample = &gpu->sample[gpu->samples];
    if (gpu->samples < SAMPLES && sscanf(values, "%u %llu %u", &sample->pid, &sample->stamp, &sample->sm) == 3)
        gpu->samples++;
}

static void add_whole(struct gpu *gpu, const char *values)
{
    struct sample *sample = &gpu->whole_sample[gpu->whole];
    if (!strncmp(values, "live", 4))
        gpu->live = 1;
    else if (gpu->whole < SAMPLES && sscanf(values, "%llu %u", &sample->stamp, &sample->sm) == 2)
        gpu->whole++;
}

static void add_rule(struct gpu *gpu, const char *word, const char *values)
{
    struct rule *rule = &gpu->rule[gpu->rules];
    if (gpu->rules < RULES && sscanf(values, "%63s %255[^\n]", rule->function, rule->path) == 2) {
        rule->kind = word[0];
        rule->number = atoi(rule->path);
        gpu->rules++;
    }
}

static void add_line(struct gpu *gpu, const char *word, const char *values)
{
    if (!strcmp(word, "driver")) sscanf(values, "%79s", state.driver);
    else if (!strcmp(word, "log")) sscanf(values, "%255[^\n]", state.log);
    else if (!strcmp(word, "xids")) sscanf(values, "%255[^\n]", state.xids);
    else if (!strcmp(word, "events")) gpu->events = atol(values);
    else if (!strcmp(word, "reload")) sscanf(values, "%d %d", &state.reload, &state.reload_code);
    else if (!strcmp(word, "name")) sscanf(values, "%95[^\n]", gpu->name);
    else if (!strcmp(word, "utilization")) gpu->utilization = atol(values);
    else if (!strcmp(word, "power")) gpu->power = atol(values);
    else if (!strcmp(word, "temperature")) gpu->temperature = atol(values);
    else if (!strcmp(word, "mig")) gpu->mig = atol(values);
    else if (!strcmp(word, "energy")) gpu->has_energy = sscanf(values, "%llu", &gpu->energy) == 1;
    else if (!strcmp(word, "process")) add_process(gpu, values);
    else if (!strcmp(word, "sample")) add_sample(gpu, values);
    else if (!strcmp(word, "whole")) add_whole(gpu, values);
    else if (!strcmp(word, "memory"))
        gpu->has_memory = sscanf(values, "%llu %llu %llu", &gpu->total, &gpu->reserved, &gpu->used) == 3;
    else add_rule(gpu, word, values);
}

/* Begin a GPU, or an instance of the last one: nothing is supported yet. */
static struct gpu *begin(struct gpu *gpu)
{
    gpu->utilization = gpu->power = gpu->temperature = gpu->mig = gpu->events = -1;
    gpu->gi = gpu->ci = ~0u;
    return gpu;
}

static void load_state(void)
{
    FILE *file = fopen(beside_this_library(), "re");
    char line[512], word[32];
    struct gpu *current = state.gpu;
    int skip;
    memset(&state, 0, sizeof state);
    if (!file)
        return;
    state.loaded = 1;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%31s %n", word, &skip) != 1)
            continue;
        if (!strcmp(word, "gpu") && state.gpus < GPUS) {
            current = begin(&state.gpu[++state.gpus]);
            sscanf(line + skip, "%95s", current->uuid);
        } else if (!strcmp(word, "instance") && state.instances < INSTANCES) {
            current = begin(&state.instance[state.instances++]);
            current->parent = state.gpus;
            sscanf(line + skip, "%95s %u %u %u", current->uuid, &current->index, &current->gi, &current->ci);
        } else {
            add_line(current, word, line + skip);
        }
    }
    fclose(file);
}
