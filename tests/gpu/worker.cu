// A tenant to order: holds MEGABYTES of GPU memory and keeps the SMs busy DUTY of the time, in bursts of random length so
// that nothing falls into step with the driver's 200 ms. Until SIGTERM; then says how many GPU-seconds of work it did.
//     worker MEGABYTES DUTY SEED ROUNDS_PER_MS
//     worker calibrate          prints ROUNDS_PER_MS: how fast this GPU works when nobody else does
//     worker fault              writes where nothing is mapped: the driver reports XID 31 and ends this process's work
// Work is counted in rounds of a loop and not in time, because time also passes while another process has the SMs.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

static volatile sig_atomic_t stop = 0;

__global__ void work(long long rounds, float *out) {
    float value = 1;
    for (long long i = 0; i < rounds; i++) value = value * 1.0000001f + 0.5f;
    *out = value;
}

__global__ void fault(float *nowhere) { *nowhere = 1; }

static void sleep_ms(double ms) {
    timespec span = {(time_t)(ms / 1e3), (long)(ms * 1e6) % 1000000000L};
    nanosleep(&span, nullptr);
}

static float timed_ms(long long rounds, float *out) {
    float took = 0;
    cudaEvent_t begin, end;
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
    cudaEventRecord(begin);
    work<<<1, 1>>>(rounds, out);
    cudaEventRecord(end);
    cudaEventSynchronize(end);
    cudaEventElapsedTime(&took, begin, end);
    return took;
}

int main(int count, char **words) {
    float *held = nullptr;
    if (count == 2 && !strcmp(words[1], "fault")) {
        fault<<<1, 1>>>((float *)0x10);  // the first page is never mapped
        printf("%s\n", cudaGetErrorName(cudaDeviceSynchronize()));
        return 0;
    }
    const bool calibrate = count == 2 && !strcmp(words[1], "calibrate");
    const double megabytes = calibrate ? 1 : atof(words[1]);
    if (cudaMalloc(&held, (size_t)(megabytes * 1048576)) != cudaSuccess) return 1;
    if (calibrate) {
        for (int i = 0; i < 20; i++) timed_ms(50000000, held);  // up to speed
        printf("%.0f\n", 50000000 / timed_ms(50000000, held));
        return 0;
    }
    const double duty = atof(words[2]), rounds_per_ms = atof(words[4]);
    unsigned seed = atoi(words[3]);
    signal(SIGTERM, [](int) { stop = 1; });
    work<<<1, 1>>>(1, held);
    cudaDeviceSynchronize();
    printf("ready\n");
    fflush(stdout);
    double rounds = 0;
    while (!stop) {
        seed = seed * 1664525u + 1013904223u;
        const double period_ms = 20 + (seed >> 8) % 100, burst = duty * period_ms * rounds_per_ms;
        timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        if (duty > 0) {
            work<<<1, 1>>>((long long)burst, held);
            cudaDeviceSynchronize();
            rounds += burst;
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        const double left = period_ms - ((end.tv_sec - begin.tv_sec) * 1e3 + (end.tv_nsec - begin.tv_nsec) / 1e6);
        sleep_ms(left > 1 ? left : 1);
    }
    printf("true_gpu_s %.3f\n", rounds / rounds_per_ms / 1e3);
    return 0;
}
