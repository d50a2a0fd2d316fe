package nextflow.processor

import com.sun.management.OperatingSystemMXBean
import groovy.transform.CompileStatic
import java.lang.management.ManagementFactory
import nextflow.Session
import nextflow.exception.ProcessUnrecoverableException
import nextflow.util.Duration
import nextflow.util.MemoryUnit

/**
 * Stands in for Nextflow's own, which subtracts a task's CPUs and memory from what is free in one thread and adds them
 * again in another, without a lock. Where a task begins while another ends, one of the two is lost for good, and the
 * next task that needs the whole machine waits forever: about one in 5,000 short tasks on two cores. Here nothing is
 * counted: what is free is what the running tasks leave.
 */
@CompileStatic
class LocalPollingMonitor extends TaskPollingMonitor {
    private final int cpus
    private final long memory

    protected LocalPollingMonitor(Map params) {
        super(params)
        cpus = params.cpus as int
        memory = params.memory as long
    }

    static LocalPollingMonitor create(Session session, String name) {
        final machine = Runtime.runtime.availableProcessors()
        final installed = ((OperatingSystemMXBean) ManagementFactory.operatingSystemMXBean).totalMemorySize
        return new LocalPollingMonitor(
            name: name,
            session: session,
            cpus: session.getExecConfigProp(name, 'cpus', machine),
            memory: (session.getExecConfigProp(name, 'memory', new MemoryUnit(installed)) as MemoryUnit).toBytes(),
            capacity: session.getQueueSize(name, machine),
            pollInterval: session.getPollInterval(name, Duration.of('100ms')),
            dumpInterval: session.getMonitorDumpInterval(name),
        )
    }

    @Override
    protected boolean canSubmit(TaskHandler handler) {
        if (cpusOf(handler) > cpus) {
            throw new ProcessUnrecoverableException(
                "Process requirement exceeds available CPUs -- req: ${cpusOf(handler)}; avail: ${cpus}")
        }
        if (memoryOf(handler) > memory) {
            throw new ProcessUnrecoverableException('Process requirement exceeds available memory -- ' +
                "req: ${new MemoryUnit(memoryOf(handler))}; avail: ${new MemoryUnit(memory)}")
        }
        int cpusAsked = cpusOf(handler)
        long memoryAsked = memoryOf(handler)
        for (TaskHandler running : runningQueue) {
            cpusAsked += cpusOf(running)
            memoryAsked += memoryOf(running)
        }
        return super.canSubmit(handler) && cpusAsked <= cpus && memoryAsked <= memory
    }

    private static int cpusOf(TaskHandler handler) {
        return handler.task.config.getCpus()
    }

    private static long memoryOf(TaskHandler handler) {
        return handler.task.config.getMemory()?.toBytes() ?: 1L
    }
}
